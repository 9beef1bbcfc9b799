//! Lines of `/proc` about processes that name themselves: whatever is in a name, nothing panics, and nothing after the name is
//! taken from inside it.

use proptest::prelude::*;

use super::ipc::{self, SysvKind};
use super::{hang, memory, process, syscall};
use crate::mangled::{mangled, some};

const STAT: &str = "12 (a) b (c) S 7 8 9 1025 -1 0 1 2 3";
const SIGNS: &[&str] =
    &[")", "(", " ", "\n", ") R 1 1 1 0", "-1", "4294967296", "\u{0}", "é", "running", "0x"];
const SYSCALL: &str = "202 0x7f00 0x80 0x0 0x0 0x0 0x0 0x7ffd 0x7f12";
const SHM: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
    -1234567  98305   600  4096  1  2  3  4  5  6  7\n";
const SMAPS: &str =
    "1000-3000 rw-s 0 0:1 7 /x\nRss:   8 kB\nShared_Dirty:  4 kB\n3000-4000 rw-p 0 0:0 0\nRss:   4 kB\n";
const LOCKS: &str =
    "1: -> FLOCK  ADVISORY  WRITE 9 08:01:13 0 EOF\n2: FLOCK  ADVISORY  WRITE 712 08:01:13 0 EOF\n";
const FIGURES: &[&str] =
    &["\n", " ", "-", ":", "18446744073709551615", "ffffffffffffffff", "Rss:", "kB", "->", "shmid"];

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn any_name_of_a_process_is_read_as_it_is(name in "[ -~\n()é]{0,15}", parent in any::<i32>()) {
        let stat = process::parse(&format!("12 ({name}) S {parent} 8 9 1025 -1 0"));
        let stat = stat.map(|stat| (stat.name, stat.parent));
        prop_assert_eq!(stat, Some((name, parent)));
    }

    #[test]
    fn mangled_lines_about_processes(line in mangled(STAT, SIGNS)) {
        if let Some(stat) = process::parse(&lossy(&line)) {
            prop_assert!(lossy(&line).contains(&stat.name));
        }
    }

    #[test]
    fn mangled_lines_about_calls(line in mangled(SYSCALL, SIGNS)) {
        if let Some(syscall) = syscall::parse(&lossy(&line)) {
            prop_assert!(syscall.number >= 0);
        }
    }

    #[test]
    fn mangled_tables_of_objects(table in mangled(SHM, FIGURES)) {
        let objects = ipc::parse(SysvKind::SharedMemory, &lossy(&table));
        prop_assert!(objects.len() <= lossy(&table).lines().count());
    }

    #[test]
    fn mangled_maps(table in mangled(SMAPS, FIGURES), start in any::<usize>(), length in any::<usize>()) {
        let _ = memory::sum(&lossy(&table), start, length);
    }

    #[test]
    fn mangled_locks(table in mangled(LOCKS, FIGURES)) {
        let holder = hang::wait::lock_holder(&lossy(&table), libc::makedev(8, 1), 13);
        prop_assert!(holder.is_none_or(|holder| holder > 0));
    }
}
