//! What the monitor lab promises, part by part.

#[path = "checks/actors.rs"]
mod actors;
#[path = "checks/buffer.rs"]
mod buffer;
#[path = "checks/condvar.rs"]
mod condvar;
#[path = "checks/hoare.rs"]
mod hoare;
#[path = "checks/monitor.rs"]
mod inside;
#[path = "checks/readers_writers.rs"]
mod readers_writers;

harness::checks! {
    "no-wake-up-is-lost" => condvar::no_wake_up_is_lost,
    "broadcast-reaches-everybody" => condvar::broadcast_reaches_everybody,
    "signal-lets-one-go-on" => condvar::signal_lets_one_go_on,
    "a-signal-is-not-remembered" => condvar::a_signal_is_not_remembered,
    "waiting-ends-at-the-deadline" => condvar::waiting_ends_at_the_deadline,
    "a-deadline-swallows-no-signal" => condvar::a_deadline_swallows_no_signal,
    "one-procedure-is-active" => inside::one_procedure_is_active,
    "waiting-lets-others-in" => inside::waiting_lets_others_in,
    "conditions-are-told-apart" => inside::conditions_are_told_apart,
    "a-panic-leaves-the-monitor" => inside::a_panic_leaves_the_monitor,
    "items-arrive-in-order" => buffer::items_arrive_in_order,
    "several-consumers-are-served" => buffer::several_consumers_are_served,
    "several-producers-are-served" => buffer::several_producers_are_served,
    "full-and-empty-buffers-make-wait" => buffer::full_and_empty_buffers_make_wait,
    "processes-pass-every-item-once" => buffer::processes_pass_every_item_once,
    "a-writer-is-alone" => readers_writers::a_writer_is_alone,
    "readers-read-together" => readers_writers::readers_read_together,
    "waiting-readers-go-together" => readers_writers::waiting_readers_go_together,
    "a-waiting-writer-is-not-overtaken" => readers_writers::a_waiting_writer_is_not_overtaken,
    "a-waiting-reader-is-not-overtaken" => readers_writers::a_waiting_reader_is_not_overtaken,
    "the-signalled-goes-first" => hoare::the_signalled_goes_first,
    "the-signaller-goes-before-newcomers" => hoare::the_signaller_goes_before_newcomers,
    "the-program-of-the-notes-is-right" => hoare::the_program_of_the_notes_is_right,
    "a-last-signal-does-not-wait" => hoare::a_last_signal_does_not_wait,
    "waits-for-a-signal-and-nothing-else" => hoare::waits_for_a_signal_and_nothing_else,
    "a-panic-hands-the-monitor-on" => hoare::a_panic_hands_the_monitor_on,
}
