//! Which cases each bug is meant to fail.

use super::Bug;

/// Names of cases, in groups.
type Groups = &'static [&'static [&'static str]];

/// Those that send more than 100,000 bytes one way.
const FAR: &[&str] = &[
    "bytes_go_both_ways_at_once",
    "a_stalled_upload_does_not_stop_the_download",
    "a_stalled_download_does_not_stop_the_upload",
    "writes_of_every_size_arrive",
    "messages_around_the_size_of_any_likely_buffer_arrive",
    "bytes_keep_their_places_at_every_offset_of_a_small_buffer",
    "tiny_socket_buffers_lose_nothing",
    "random_chunks_and_pauses_lose_nothing",
    "a_client_that_finishes_still_gets_a_late_answer",
    "a_server_that_finishes_still_gets_a_late_upload",
    "a_clients_fin_waits_behind_what_was_not_read",
    "a_servers_fin_waits_behind_what_was_not_read",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
    "a_request_before_the_server_answers_is_kept",
    "a_fin_before_the_server_answers_is_kept",
    "what_a_client_sent_before_closing_reaches_a_sleeping_server",
    "what_a_server_sent_before_closing_reaches_a_sleeping_client",
];

/// Those in which one direction waits for room while the other has to go on.
const BOTH_DIRECTIONS: &[&str] = &[
    "a_stalled_upload_does_not_stop_the_download",
    "a_stalled_download_does_not_stop_the_upload",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
];

const HALF_CLOSE: &[&str] = &[
    "a_client_that_finishes_still_gets_a_late_answer",
    "a_server_that_finishes_still_gets_a_late_upload",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
    "a_fin_before_the_server_answers_is_kept",
    "a_silent_half_closed_session_ends_when_its_time_is_up",
    "traffic_keeps_a_half_closed_session_alive",
];

const RESET: &[&str] =
    &["a_clients_reset_is_a_reset_for_the_server", "a_servers_reset_is_a_reset_for_the_client"];

const WAITING_BEFORE_RESET: &[&str] = &[
    "bytes_before_a_clients_reset_wait_for_a_sleeping_server",
    "bytes_before_a_servers_reset_wait_for_a_sleeping_client",
];

const BEFORE_RESET: &[&str] = &["bytes_before_a_clients_reset_arrive", "bytes_before_a_servers_reset_arrive"];

const BEATS_CONNECT: &[&str] = &["what_a_server_sent_before_a_reset_that_beats_the_connect_arrives"];

/// Those in which a FIN is right behind the last byte.
const FIN_AT_ONCE: &[&str] = &[
    "a_client_that_finishes_still_gets_a_late_answer",
    "a_server_that_finishes_still_gets_a_late_upload",
    "a_clients_fin_waits_behind_what_was_not_read",
    "a_servers_fin_waits_behind_what_was_not_read",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
    "what_a_client_sent_before_closing_reaches_a_sleeping_server",
    "what_a_server_sent_before_closing_reaches_a_sleeping_client",
];

impl Bug {
    /// The cases that a proxy with this bug must fail.
    pub fn must_fail(self) -> Vec<&'static str> {
        self.surely().concat()
    }

    /// Further cases that it may fail, since they need what the bug spoils, or because it is a matter of luck.
    pub fn may_fail(self) -> Vec<&'static str> {
        self.perhaps().concat()
    }

    const fn surely(self) -> Groups {
        match self {
            Self::SwapsBlocks | Self::RepeatsBlock => &[FAR],
            Self::DropsLastByte => &[
                FIN_AT_ONCE,
                &["a_fin_before_the_server_answers_is_kept", "traffic_keeps_a_half_closed_session_alive"],
            ],
            Self::TakesTurns => &[BOTH_DIRECTIONS],
            Self::DelaysSmallBlocks => &[&["a_dialogue_of_single_bytes_is_not_delayed"]],
            Self::KeepsFullBuffer => &[&["messages_around_the_size_of_any_likely_buffer_arrive"]],
            Self::WaitsForClient => &[&["a_banner_from_the_server_arrives_first"]],
            Self::LosesUrgentByte => &[&["an_urgent_byte_arrives_among_the_others"]],
            Self::ClosesBoth => &[HALF_CLOSE],
            Self::KeepsServersFin => &[&[
                "a_server_that_finishes_still_gets_a_late_upload",
                "a_servers_fin_waits_behind_what_was_not_read",
                "a_servers_fin_arrives_while_the_upload_is_stalled",
                "what_a_server_sent_before_closing_reaches_a_sleeping_client",
                "a_client_learns_that_the_server_has_gone",
                "a_silent_half_closed_session_ends_when_its_time_is_up",
            ]],
            Self::ResetBecomesFin | Self::BelievesEndOfFile => &[RESET],
            Self::DropsBlockAtReset => &[BEFORE_RESET, WAITING_BEFORE_RESET],
            Self::ResetsAtOnce => &[WAITING_BEFORE_RESET],
            Self::ForgetsEarlyBytes => {
                &[&["a_request_before_the_server_answers_is_kept", "a_fin_before_the_server_answers_is_kept"]]
            }
            Self::BelievesSoError => &[BEATS_CONNECT],
            Self::StopsAtFailedWrite => &[BOTH_DIRECTIONS, &["a_reply_before_the_upload_was_read_arrives"]],
            Self::SendsToNobody => {
                &[&["a_server_learns_that_the_client_has_gone", "a_client_learns_that_the_server_has_gone"]]
            }
            Self::NeverTimesOut => &[
                &["a_silent_half_closed_session_ends_when_its_time_is_up"],
                &["a_session_cut_by_a_time_limit_does_not_look_complete"],
            ],
            Self::CutsWithFin => &[&["a_session_cut_by_a_time_limit_does_not_look_complete"]],
            Self::IgnoresTraffic => &[&["traffic_keeps_a_half_closed_session_alive"]],
            Self::LeaksDescriptor => &[&["nothing_is_left_of_a_finished_session"]],
            Self::RefusalBecomesFin => &[],
        }
    }

    const fn perhaps(self) -> Groups {
        match self {
            // In every case the peers finish soon after their last byte, and sometimes at once.
            Self::DropsLastByte => &[
                FAR,
                BEATS_CONNECT,
                BEFORE_RESET,
                WAITING_BEFORE_RESET,
                &[
                    "a_reply_before_the_upload_was_read_arrives",
                    "thousands_of_tiny_segments_wait_for_stalled_readers",
                    "an_urgent_byte_arrives_among_the_others",
                    "a_banner_from_the_server_arrives_first",
                    "nothing_is_left_of_a_finished_session",
                ],
            ],
            // Full buffers and their ends come as they like.
            Self::KeepsFullBuffer => &[FAR, WAITING_BEFORE_RESET],
            // The server has the first word in these.
            Self::WaitsForClient => &[
                BEATS_CONNECT,
                &[
                    "a_server_that_finishes_still_gets_a_late_upload",
                    "a_servers_fin_waits_behind_what_was_not_read",
                    "what_a_client_sent_before_closing_reaches_a_sleeping_server",
                    "a_server_learns_that_the_client_has_gone",
                    "bytes_before_a_clients_reset_arrive",
                    "bytes_before_a_clients_reset_wait_for_a_sleeping_server",
                    "a_clients_reset_is_a_reset_for_the_server",
                    "a_silent_half_closed_session_ends_when_its_time_is_up",
                ],
            ],
            Self::DropsBlockAtReset => &[BEATS_CONNECT, &["a_reply_before_the_upload_was_read_arrives"]],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::topics;

    #[test]
    fn the_cases_meant_for_a_bug_exist() {
        let known: Vec<_> = topics().iter().flat_map(|topic| topic.cases).map(|case| case.name()).collect();
        for bug in Bug::all() {
            for name in [bug.must_fail(), bug.may_fail()].concat() {
                assert!(known.contains(&name), "{}: {name}", bug.name());
            }
        }
    }
}
