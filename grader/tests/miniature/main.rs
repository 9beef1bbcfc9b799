//! The grader as a user runs it, on a miniature course: whole reports, exit codes, and `verify`.

mod course;
mod explored;
mod golden;
mod messages;
mod verify;
