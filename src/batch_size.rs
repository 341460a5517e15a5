//! How much is done at once where the most is sometimes too much: half of what was, and more with each success. That doubles
//! while it is small and adds a little from then on, as TCP does with its window (RFC 5681).

/// Between 1 and a most.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    now: usize,
    max: usize,
}

impl BatchSize {
    /// Of the most, what a success adds.
    const STEPS: usize = 16;

    pub const fn new(max: usize) -> Self {
        Self { now: max, max }
    }

    pub const fn get(self) -> usize {
        self.now
    }

    pub fn was_too_much(&mut self) {
        self.now = (self.now / 2).max(1);
    }

    pub fn went_well(&mut self) {
        self.now = (self.now + self.now.min(self.max.div_ceil(Self::STEPS))).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_halved_down_to_one_and_comes_back_with_each_success() {
        let mut size = BatchSize::new(250);
        let halved = std::array::from_fn(|_| {
            size.was_too_much();
            size.get()
        });
        assert_eq!(halved, [125, 62, 31, 15, 7, 3, 1, 1, 1]);
        let grown: [usize; 21] = std::array::from_fn(|_| {
            size.went_well();
            size.get()
        });
        assert_eq!(grown[..7], [2, 4, 8, 16, 32, 48, 64]);
        assert_eq!(grown[17..], [240, 250, 250, 250]);
        let mut one = BatchSize::new(1);
        one.was_too_much();
        one.went_well();
        assert_eq!(one.get(), 1);
    }
}
