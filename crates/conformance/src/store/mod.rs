//! The record: `Store` and `Records` together, as they are two sides of one thing.

mod again;
mod attended;
mod changes;
mod claims;
mod damage;
mod fences;
mod frames;
mod kit;
mod lineage;
mod nodes;
mod offers;
mod permissions;
mod queue;
mod records;
mod recovery;
mod resume;
mod sessions;
mod settling;
mod stop;
mod subject;
mod tasks;
mod text;
mod turns;
mod wakeups;
mod warm;

pub use again::*;
pub use attended::*;
pub use changes::*;
pub use claims::*;
pub use damage::*;
pub use fences::*;
pub use frames::*;
pub use lineage::*;
pub use nodes::*;
pub use offers::*;
pub use permissions::*;
pub use queue::*;
pub use records::*;
pub use recovery::*;
pub use resume::*;
pub use sessions::*;
pub use settling::*;
pub use stop::*;
pub use subject::{Damage, StoreSubject, View};
pub use tasks::*;
pub use text::*;
pub use turns::*;
pub use wakeups::*;
pub use warm::*;

/// Makes a module `$name` with one test per clause of the record's contract. `$fresh` is an expression for
/// a new [`StoreSubject`] without anything in it; it is evaluated once a test.
///
/// The crate that uses it needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $fresh:expr) => {
        $crate::store_conformance!(@tests $name, $fresh;
            a_claim_takes_the_oldest_first
            a_claim_takes_at_most_the_free_slots
            a_claim_of_one_takes_just_that_one
            a_claimed_task_is_running_with_its_start_time
            every_claim_has_a_greater_epoch
            a_second_running_turn_of_a_session_is_refused
            a_session_goes_on_with_its_oldest_task
            two_claimers_never_get_one_task
            a_hot_session_delays_no_other
            nothing_is_claimed_on_a_strange_lease
            a_running_node_is_refused_a_second_time
            a_lease_given_back_is_lost_for_good
            a_node_may_come_back
            renewing_tells_what_was_stopped
            a_route_is_kept_by_later_attempts
            a_message_begins_empty
            an_empty_message_is_used_again
            a_snapshot_is_recorded_once
            a_checkpoint_may_follow_the_end
            the_running_epoch_is_told
            a_requeued_task_waits_in_its_place
            a_prompt_that_is_out_is_never_requeued
            frames_read_back_as_they_were
            frames_are_numbered_without_a_gap
            concurrent_appends_leave_no_gap
            frames_are_read_after_a_place
            writes_of_an_older_epoch_change_nothing
            writes_of_a_requeued_turn_change_nothing
            writes_after_the_end_change_nothing
            writes_of_a_made_up_epoch_change_nothing
            stopping_a_running_task_marks_it
            stopping_a_waiting_task_cancels_it
            stopping_a_waiting_task_keeps_the_order
            stopping_a_requeued_task_ends_its_message
            stopping_what_has_ended_changes_nothing
            an_accepted_stop_comes_first
            a_stopped_turn_ends_cancelled
            a_stop_and_an_end_race_fairly
            settling_writes_everything
            settling_twice_changes_nothing
            an_end_is_written_whole_or_not_at_all
            a_turn_may_end_without_a_message
            no_message_is_left_streaming
            long_parts_stay_whole
            totals_are_sums
            a_change_reads_back_as_it_was
            a_superseding_change_replaces_the_pending_one
            superseding_touches_no_other_change
            appended_changes_stand_side_by_side
            going_back_to_the_base_withdraws_the_pending_one
            rejected_edits_are_marked_until_restored
            an_applied_change_is_compared_with
            a_closed_sessions_changes_stay_appliable
            a_decision_is_made_once
            a_retired_change_cannot_be_decided
            a_users_change_stands_beside_the_others
            changes_are_listed_newest_first
            an_unsent_turn_is_pending_again
            a_sent_turn_is_interrupted
            an_interrupted_turn_leaves_nothing_open
            a_stopped_turn_is_cancelled
            after_recovery_the_next_task_goes_on
            a_live_nodes_turns_are_left_alone
            each_turn_is_recovered_once
            a_node_that_left_is_recovered
            listings_leave_damaged_rows_out
            a_damaged_task_is_set_aside
            a_damaged_log_is_recovered_in_part
            an_unknown_state_does_not_block_its_session
            a_task_alone_gets_a_session_and_a_chat
            a_task_reads_back_as_it_was
            a_task_has_one_user_message
            a_sessions_newest_open_chat_is_used
            a_chat_is_continued
            a_session_stores_the_model
            an_empty_task_is_refused
            a_closed_session_or_chat_is_refused
            what_belongs_elsewhere_is_refused
            what_does_not_exist_is_named
            tasks_are_listed_newest_first
            a_project_is_made_once
            a_projects_path_is_kept_byte_for_byte
            an_id_may_be_abbreviated
            tasks_and_checkpoints_are_found_by_prefix
            what_is_not_there_is_not_found
            everything_survives_the_process
            a_task_is_made_once_for_an_id
            an_append_is_made_once
            an_overtaken_append_is_refused
            an_append_is_answered_again_after_the_end
            a_turn_is_requeued_once
            an_end_by_recovery_is_not_the_turns_own
            a_users_change_is_made_once
            an_attended_task_is_its_own_nodes
            an_attended_task_of_no_live_node_is_refused
            an_attended_task_ends_with_its_node
            an_attended_task_ends_as_its_node_leaves
            an_attended_turn_of_a_dead_node_is_not_pending_again
            a_lost_claim_is_handed_out_again
            a_lost_claim_is_its_own_nodes
            a_limited_agent_gets_at_most_its_limit
            a_hot_agent_delays_no_other
            stopping_a_damaged_task_sets_it_aside
            a_damaged_turn_is_recovered
            live_nodes_are_listed
            an_interrupted_task_is_resumed
            a_task_that_a_shutdown_cancelled_is_resumed
            a_resumed_task_is_the_oldest_of_its_session
            a_resumed_task_goes_on_with_its_own_conversation
            a_resumed_task_may_be_stopped
            a_resumed_task_is_not_attended
            what_was_not_cut_off_is_not_resumed
            a_session_tells_what_waits_and_runs
            sessions_are_listed_newest_first
            closing_a_session_stops_its_work
            a_closed_session_is_opened_again
            what_a_task_waits_for_is_told
            text_is_kept_as_it_was
            a_very_long_input_is_kept_whole
            what_becomes_claimable_wakes_every_process
            a_recovered_task_wakes_every_process
            an_accepted_stop_wakes_every_process
            a_wake_up_is_not_lost_with_who_waited
            a_permission_request_is_open_until_it_is_resolved
            permission_requests_are_listed_oldest_first
            an_answer_from_another_process_reaches_the_turns_node
            a_permission_request_is_answered_once
            what_is_not_asked_is_not_answered
            a_turns_end_closes_its_permission_requests
            permission_requests_are_opened_once
            a_permission_request_is_kept_as_it_was
            a_chat_goes_on_with_its_last_conversation
            a_conversation_is_told_with_the_claim_that_recorded_it
            a_conversation_is_its_agents_routes_and_worktrees_own
            a_conversation_is_kept_however_its_turn_ends
            a_turn_is_told_what_was_said_before
            a_resumed_turn_is_told_what_came_before_its_task
            an_agents_offer_is_its_last_word
            an_offer_is_its_agents_own
            what_a_node_keeps_is_listed
            closed_chats_are_told_to_who_keeps_an_agent
            a_close_wakes_who_may_keep_an_agent
        );
    };
    (@tests $name:ident, $fresh:expr; $($clause:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $clause() {
                    $crate::store::$clause(&$fresh).await;
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_clause_is_in_the_macro() {
        let files = [
            include_str!("changes.rs"),
            include_str!("damage.rs"),
            include_str!("fences.rs"),
            include_str!("frames.rs"),
            include_str!("nodes.rs"),
            include_str!("queue.rs"),
            include_str!("records.rs"),
            include_str!("recovery.rs"),
            include_str!("settling.rs"),
            include_str!("stop.rs"),
            include_str!("tasks.rs"),
            include_str!("turns.rs"),
            include_str!("wakeups.rs"),
            include_str!("text.rs"),
            include_str!("sessions.rs"),
            include_str!("resume.rs"),
            include_str!("claims.rs"),
            include_str!("attended.rs"),
            include_str!("again.rs"),
            include_str!("permissions.rs"),
            include_str!("lineage.rs"),
            include_str!("offers.rs"),
            include_str!("warm.rs"),
        ];
        let list = include_str!("mod.rs");
        let names = files
            .iter()
            .flat_map(|file| file.lines())
            .filter_map(|line| line.strip_prefix("pub async fn ").and_then(|rest| rest.split('(').next()));
        let mut seen = 0;
        for name in names {
            seen += 1;
            assert!(list.lines().any(|line| line.trim() == name), "{name} is not in the macro's list");
        }
        assert!(seen > 50, "the files were read");
    }
}
