//! Panics while it panics.
//!
//! expect: crashed
//! message: SIGABRT
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let _again = Again;
    panic!("once")
}
