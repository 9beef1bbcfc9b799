//! What the semaphore lab promises, part by part.

#[path = "checks/buffer.rs"]
mod buffer;
#[path = "checks/counting.rs"]
mod counting;
#[path = "checks/deaths.rs"]
mod deaths;
#[path = "checks/meeting.rs"]
mod meeting;
#[path = "checks/named.rs"]
mod named;
#[path = "checks/programs.rs"]
mod programs;
#[path = "checks/sleepers.rs"]
mod sleepers;
#[path = "checks/strong.rs"]
mod strong;

harness::checks! {
    "an-order-loses-an-update" => counting::an_order_loses_an_update,
    "counts-down-to-zero-and-no-further" => counting::counts_down_to_zero_and_no_further,
    "no-more-inside-than-the-count" => counting::no_more_inside_than_the_count,
    "no-signal-is-lost" => counting::no_signal_is_lost,
    "giving-up-loses-no-signal" => counting::giving_up_loses_no_signal,
    "whoever-waits-sleeps" => counting::whoever_waits_sleeps,
    "anyone-may-post" => counting::anyone_may_post,
    "gives-up-at-the-deadline" => counting::gives_up_at_the_deadline,
    "served-in-the-order-of-arrival" => strong::served_in_the_order_of_arrival,
    "nobody-overtakes-the-queue" => strong::nobody_overtakes_the_queue,
    "strong-counts-as-well" => strong::strong_counts_as_well,
    "processes-are-served-in-order" => strong::processes_are_served_in_order,
    "first-in-first-out" => buffer::first_in_first_out,
    "full-and-empty-make-wait" => buffer::full_and_empty_make_wait,
    "one-slot-is-enough" => buffer::one_slot_is_enough,
    "many-share-the-buffer" => buffer::many_share_the_buffer,
    "giving-up-takes-no-slot-along" => buffer::giving_up_takes_no_slot_along,
    "each-item-exactly-once" => buffer::each_item_exactly_once,
    "a-death-at-any-step-is-told" => deaths::a_death_at_any_step_is_told,
    "random-kills-damage-nothing" => deaths::random_kills_damage_nothing,
    "a-resource-has-one-user" => meeting::a_resource_has_one_user,
    "the-pool-knows-what-is-taken" => meeting::the_pool_knows_what_is_taken,
    "the-barrier-keeps-rounds-apart" => meeting::the_barrier_keeps_rounds_apart,
    "processes-meet" => meeting::processes_meet,
    "a-name-is-one-semaphore" => named::a_name_is_one_semaphore,
    "signals-do-not-end-the-wait" => named::signals_do_not_end_the_wait,
    "a-crashed-holder-gives-back" => named::a_crashed_holder_gives_back,
    "what-was-released-is-not-undone" => named::what_was_released_is_not_undone,
}
