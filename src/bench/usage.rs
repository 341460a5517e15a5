//! What a process and those it has started use of the machine, read from `/proc` (Linux; nothing elsewhere).

use std::collections::HashMap;
use std::time::Duration;

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory of the process itself.
    pub resident_bytes: u64,
    /// Processor time of the process itself, since it began.
    pub own: Duration,
    /// The same with all its descendants: the embedded Postgres and Redis.
    pub with_children: Duration,
}

struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
    resident_pages: u64,
}

pub fn of(id: u32) -> Option<Usage> {
    let processes: Vec<Process> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .collect();
    let root = processes.iter().find(|process| process.id == id)?;
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in &processes {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut ticks, mut to_visit) = (0, vec![root]);
    while let Some(process) = to_visit.pop() {
        ticks += process.ticks;
        to_visit.extend(children.get(&process.id).into_iter().flatten());
    }
    let sysconf = |variable| nix::unistd::sysconf(variable).ok().flatten()?.try_into().ok();
    let per_second: u64 = sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    let page: u64 = sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second as f64);
    Some(Usage {
        resident_bytes: root.resident_pages * page,
        own: time(root.ticks),
        with_children: time(ticks),
    })
}

/// A line of `/proc/<id>/stat`, see proc(5). The name in parentheses may hold anything, so what follows the last one
/// is counted.
fn parse(line: &str) -> Option<Process> {
    let (head, rest) = (line.split_once(' ')?.0, line.rsplit_once(") ")?.1);
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Process {
        id: head.parse().ok()?,
        parent: number(1)?.try_into().ok()?,
        ticks: number(11)? + number(12)?,
        resident_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    //! What is read, of a line and of this process.
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 9 0 100 1000000 250 18446744073709551615";
        let process = parse(line).expect("a line of that form");
        assert_eq!((process.id, process.parent, process.ticks, process.resident_pages), (42, 7, 42, 250));
        assert!(parse("").is_none() && parse("42 (x").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        let usage = of(std::process::id()).expect("this process");
        assert!(usage.resident_bytes > 1 << 16 && usage.with_children >= usage.own);
    }
}
