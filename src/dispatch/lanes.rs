//! Whose turn it is among the priorities. Each lane gets its share of the work as long as it has any, and what it does not
//! use is handed on: an urgent notification does not wait behind a million low ones, and those still move.
//!
//! Stride scheduling (Waldspurger and Weihl, 1995): each delivery that a lane is served moves its pass by the inverse of
//! its weight, and the smallest pass is next.

use tidings_domain::notification::Priority;

/// Shares of the work, from low to urgent.
const WEIGHTS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

#[derive(Debug, Default)]
pub struct Lanes {
    passes: [f64; 4],
}

impl Lanes {
    /// Per priority: its number, how far it has been served, and by how much each delivery moves that.
    pub fn passes(&self) -> [(i16, f64, f64); 4] {
        Priority::ALL.map(|priority| {
            let lane = priority as usize;
            (lane as i16, self.passes[lane], stride(lane))
        })
    }

    /// Takes over what was claimed: the lane and the pass of each delivery. A lane that had no work gets no credit for it.
    pub fn served(&mut self, claimed: impl IntoIterator<Item = (i16, f64)>) {
        let mut now: f64 = 0.0;
        for (lane, pass) in claimed {
            if let Some(served) = usize::try_from(lane).ok().and_then(|lane| self.passes.get_mut(lane)) {
                *served = served.max(pass);
                now = now.max(pass);
            }
        }
        for lane in 0..self.passes.len() {
            self.passes[lane] = self.passes[lane].max(now - stride(lane));
        }
    }
}

fn stride(lane: usize) -> f64 {
    1.0 / WEIGHTS[lane]
}

#[cfg(test)]
mod tests {
    //! Shares, held against a queue in memory that is served as the database serves its own.

    use super::*;

    /// Claims as many, of lanes with so much work; gives the lanes in the order in which they are served.
    fn claim(lanes: &mut Lanes, work: &mut [usize; 4], count: usize) -> Vec<usize> {
        let mut turns = Vec::new();
        for (lane, pass, stride) in lanes.passes() {
            let waiting =
                (1..=work[lane as usize].min(count)).map(|place| (pass + stride * place as f64, lane));
            turns.extend(waiting);
        }
        turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        turns.truncate(count);
        lanes.served(turns.iter().map(|(pass, lane)| (*lane, *pass)));
        turns.iter().for_each(|(_, lane)| work[*lane as usize] -= 1);
        turns.into_iter().map(|(_, lane)| lane as usize).collect()
    }

    fn shares(order: &[usize]) -> [usize; 4] {
        [0, 1, 2, 3].map(|lane| order.iter().filter(|served| **served == lane).count())
    }

    #[test]
    fn each_lane_gets_its_share_however_few_are_claimed_at_once() {
        for at_once in [1, 4, 64, 1500] {
            let (mut lanes, mut work) = (Lanes::default(), [10_000; 4]);
            let mut order = Vec::new();
            while order.len() < 1500 {
                order.extend(claim(&mut lanes, &mut work, at_once.min(1500 - order.len())));
            }
            assert_eq!(shares(&order), [100, 200, 400, 800], "{at_once} at once");
        }
    }

    #[test]
    fn what_a_lane_does_not_use_is_handed_on() {
        let (mut lanes, mut work) = (Lanes::default(), [10_000, 0, 0, 5]);
        assert_eq!(shares(&claim(&mut lanes, &mut work, 100)), [95, 0, 0, 5]);
    }

    #[test]
    fn urgent_goes_first_whatever_was_done_before() {
        for served_before in [1, 7, 1_000] {
            let (mut lanes, mut work) = (Lanes::default(), [10_000, 0, 10_000, 0]);
            (0..served_before).for_each(|_| _ = claim(&mut lanes, &mut work, 1));
            work[3] = 1;
            assert_eq!(claim(&mut lanes, &mut work, 1), [3], "after {served_before}");
        }
    }

    #[test]
    fn urgents_that_come_one_by_one_do_not_starve_the_low() {
        let (mut lanes, mut work, mut order) = (Lanes::default(), [10_000, 0, 0, 0], Vec::new());
        for _ in 0..900 {
            work[3] = 1;
            order.extend(claim(&mut lanes, &mut work, 1));
        }
        assert_eq!(shares(&order), [100, 0, 0, 800]);
    }

    #[test]
    fn silence_earns_no_credit() {
        let (mut lanes, mut work) = (Lanes::default(), [0, 0, 0, 10_000]);
        claim(&mut lanes, &mut work, 8_000);
        work = [10_000; 4];
        let order = claim(&mut lanes, &mut work, 15);
        assert!(shares(&order)[0] <= 2, "{order:?}");
    }
}
