//! What the grader does when everything goes wrong: signals, broken streams, hostile submissions, bad input.
//!
//! All tests share one course and one target directory; the grader's own lock keeps them apart. A test
//! knows what belongs to its grader by the grader's process number.

mod course;
mod documents;
mod hostile;
mod input;
mod interrupts;
mod leftovers;
mod outputs;
mod streams;
mod workflows;
