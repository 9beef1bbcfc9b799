//! What lab 02 asks for, one property a function; a file for each part.

#[path = "checks/counters.rs"]
mod counters;
#[path = "checks/objects.rs"]
mod objects;
#[path = "checks/once.rs"]
mod once;
#[path = "checks/once_killed.rs"]
mod once_killed;
#[path = "checks/persistence.rs"]
mod persistence;
#[path = "checks/segments.rs"]
mod segments;
#[path = "checks/traced.rs"]
mod traced;
#[path = "checks/trusted.rs"]
mod trusted;

harness::checks! {
    "create-never-takes-an-existing-segment" => segments::create_never_takes_an_existing_segment,
    "open-finds-and-never-creates" => segments::open_finds_and_never_creates,
    "private-segments-have-no-key" => segments::private_segments_have_no_key,
    "status-is-what-the-kernel-knows" => segments::status_is_what_the_kernel_knows,
    "two-processes-share-a-segment" => segments::two_processes_share_a_segment,
    "permissions-hold" => segments::permissions_hold,
    "a-dropped-attachment-is-detached" => segments::a_dropped_attachment_is_detached,
    "removed-memory-stays-while-attached" => segments::removed_memory_stays_while_attached,
    "create-never-takes-an-existing-object" => objects::create_never_takes_an_existing_object,
    "two-processes-share-an-object" => objects::two_processes_share_an_object,
    "open-takes-the-size-from-the-object" => objects::open_takes_the_size_from_the_object,
    "read-only-is-read-only" => objects::read_only_is_read_only,
    "a-mapping-needs-no-descriptor-and-no-name" => objects::a_mapping_needs_no_descriptor_and_no_name,
    "a-dropped-mapping-is-unmapped-whole" => objects::a_dropped_mapping_is_unmapped_whole,
    "a-failed-create-leaves-nothing" => objects::a_failed_create_leaves_nothing,
    "views-stay-inside" => objects::views_stay_inside,
    "an-object-outlives-its-processes" => objects::an_object_outlives_its_processes,
    "one-of-many-initialises" => once::one_of_many_initialises,
    "nobody-is-early" => once::nobody_is_early,
    "stopped-anywhere-nobody-is-misled" => once_killed::stopped_anywhere_nobody_is_misled,
    "killed-anywhere-somebody-takes-over" => once_killed::killed_anywhere_somebody_takes_over,
    "killed-at-random-moments" => once_killed::killed_at_random_moments,
    "a-dead-initialiser-is-replaced" => once_killed::a_dead_initialiser_is_replaced,
    "a-failed-initialiser-gives-way" => once::a_failed_initialiser_gives_way,
    "a-slow-initialiser-is-not-robbed" => once::a_slow_initialiser_is_not_robbed,
    "another-length-is-refused" => once::another_length_is_refused,
    "a-file-outlives-its-processes" => persistence::a_file_outlives_its_processes,
    "a-file-keeps-what-it-holds" => persistence::a_file_keeps_what_it_holds,
    "sync-reaches-the-disk" => persistence::sync_reaches_the_disk,
    "anonymous-memory-is-for-the-family" => persistence::anonymous_memory_is_for_the_family,
    "persistence-is-told" => persistence::persistence_is_told,
    "counters-count" => counters::counters_count,
    "a-cache-line-each" => counters::a_cache_line_each,
    "additions-are-atomic" => counters::additions_are_atomic,
    "totals-are-exact" => counters::totals_are_exact,
}
