//! placeholder
/// A named range of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the report calls it, for example `the lock`.
    pub name: String,
    /// First address.
    pub start: usize,
    /// Bytes.
    pub len: usize,
}
/// A process to report on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its pid.
    pub pid: i32,
    /// What the report calls it, for example `worker 1`.
    pub name: String,
}
/// Report.
pub fn hang_report(roots: &[i32], labels: &[Label]) -> String {
    let _ = (roots, labels);
    String::new()
}
/// Report.
pub fn hang_report_of(roots: &[Root], labels: &[Label]) -> String {
    let _ = (roots, labels);
    String::new()
}
