//! Which cases a proxy with a bug must fail, and which ones it may fail.

use super::Bug;

/// Names of cases, in groups.
type Groups = &'static [&'static [&'static str]];

/// Those that send more than 100,000 bytes one way.
const FAR: &[&str] = &[
    "bytes_go_both_ways_at_once",
    "a_stalled_upload_does_not_stop_the_download",
    "a_stalled_download_does_not_stop_the_upload",
    "writes_of_every_size_arrive",
    "messages_around_common_buffer_sizes_arrive",
    "bytes_keep_their_order_at_every_offset_of_a_small_buffer",
    "tiny_socket_buffers_lose_nothing",
    "random_chunks_and_pauses_lose_nothing",
    "a_client_that_finishes_still_gets_a_late_answer",
    "a_server_that_finishes_still_gets_a_late_upload",
    "a_clients_fin_follows_the_unread_bytes",
    "a_servers_fin_follows_the_unread_bytes",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
    "a_request_before_the_server_answers_is_kept",
    "a_fin_before_the_server_answers_is_kept",
    "bytes_before_a_clients_close_reach_a_server_that_reads_later",
    "bytes_before_a_servers_close_reach_a_client_that_reads_later",
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
    "a_silent_half_closed_session_ends_at_its_time_limit",
    "traffic_keeps_a_half_closed_session_alive",
];

const RESET: &[&str] =
    &["a_clients_reset_is_a_reset_for_the_server", "a_servers_reset_is_a_reset_for_the_client"];

const WAITING_BEFORE_RESET: &[&str] = &[
    "bytes_before_a_clients_reset_reach_a_server_that_reads_later",
    "bytes_before_a_servers_reset_reach_a_client_that_reads_later",
];

const BEFORE_RESET: &[&str] = &["bytes_before_a_clients_reset_arrive", "bytes_before_a_servers_reset_arrive"];

const RESET_DURING_CONNECT: &[&str] = &["bytes_before_a_servers_reset_during_the_connect_arrive"];

/// Those in which a FIN is right behind the last byte.
const FIN_AT_ONCE: &[&str] = &[
    "a_client_that_finishes_still_gets_a_late_answer",
    "a_server_that_finishes_still_gets_a_late_upload",
    "a_clients_fin_follows_the_unread_bytes",
    "a_servers_fin_follows_the_unread_bytes",
    "a_clients_fin_arrives_while_the_download_is_stalled",
    "a_servers_fin_arrives_while_the_upload_is_stalled",
    "bytes_before_a_clients_close_reach_a_server_that_reads_later",
    "bytes_before_a_servers_close_reach_a_client_that_reads_later",
];

const RESET_BEFORE_CONNECT: &[&str] =
    &["a_client_of_a_server_that_refuses_is_not_left_waiting", "a_server_that_does_not_answer_is_given_up"];

const REFUSED_IS_RESET: &[&str] = &["a_refused_connection_does_not_look_like_an_empty_answer"];

/// Those in which many sessions follow one another, some with a server that refuses.
const MANY_SESSIONS: &[&str] =
    &["descriptors_are_given_back_however_sessions_end", "no_connection_stays_in_close_wait"];

const HELD_BACK: &[&str] = &[
    "an_upload_to_a_server_that_does_not_read_is_held_back",
    "a_download_to_a_client_that_does_not_read_is_held_back",
];

/// Those that measure processor time while a sender is held back.
const STALLED_SLEEP: &[&str] = &[
    "a_stalled_transfer_sleeps",
    "a_stalled_transfer_whose_sender_has_finished_sleeps",
    "a_stalled_transfer_whose_sender_has_reset_sleeps",
];

/// Those that measure processor time while no sender is held back.
const QUIET_SLEEP: &[&str] = &[
    "an_idle_proxy_sleeps",
    "a_half_closed_session_sleeps",
    "a_stalled_transfer_whose_reader_has_reset_sleeps",
];

const FAIRNESS: &[&str] = &["a_bulk_transfer_leaves_room_for_small_exchanges"];

/// Those in which sessions have to work although lines cannot be logged; a proxy that waits for something in each session is too late in them.
const WITHOUT_LOG: &[&str] = &[
    "service_goes_on_without_a_standard_error",
    "service_goes_on_when_its_log_is_not_read",
    "service_goes_on_when_the_reader_of_its_log_has_closed",
];

const RESTART: &[&str] = &["a_restart_gets_the_port_although_connections_are_in_time_wait"];

/// Those in which there is no port to listen on, whatever the reason.
const WITHOUT_PORT: &[&str] = &["a_missing_argument_is_reported", "a_number_that_is_no_port_is_reported"];

const PEER_GONE: &[&str] =
    &["a_server_cannot_send_to_a_client_that_has_closed", "a_client_cannot_send_to_a_server_that_has_closed"];

const SIGTERM_IN_A_TRANSFER: &[&str] =
    &["a_transfer_cut_by_sigterm_does_not_look_complete", "a_transfer_may_finish_after_sigterm"];

const AFTER_SIGTERM: &[&str] =
    &["a_session_left_at_the_drain_timeout_is_reset", "a_second_signal_ends_the_process_at_once"];

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
            Self::SwapsBlocks | Self::RepeatsBlock => &[FAR, SIGTERM_IN_A_TRANSFER],
            Self::DropsLastByte => &[
                FIN_AT_ONCE,
                SIGTERM_IN_A_TRANSFER,
                &["a_fin_before_the_server_answers_is_kept", "traffic_keeps_a_half_closed_session_alive"],
            ],
            Self::TakesTurns => &[BOTH_DIRECTIONS],
            Self::DelaysSmallBlocks => &[&["a_dialogue_of_single_bytes_is_not_delayed"], FAIRNESS],
            Self::KeepsFullBuffer => &[&["messages_around_common_buffer_sizes_arrive"]],
            Self::WaitsForClient => &[
                &["a_banner_from_the_server_arrives_first", "a_half_closed_session_sleeps"],
                FAIRNESS,
                SIGTERM_IN_A_TRANSFER,
                &["a_session_left_at_the_drain_timeout_is_reset"],
            ],
            Self::OverwritesSmallBlocks => &[&["thousands_of_tiny_segments_wait_for_stalled_readers"]],
            Self::LosesUrgentByte => &[&["an_urgent_byte_arrives_among_the_others"]],
            Self::ClosesBoth => &[HALF_CLOSE],
            Self::ResetsWhenBothFinish => &[&["both_sides_may_finish_at_once"]],
            Self::KeepsServersFin => &[
                MANY_SESSIONS,
                SIGTERM_IN_A_TRANSFER,
                &[
                    "a_half_closed_session_sleeps",
                    "a_server_that_finishes_still_gets_a_late_upload",
                    "a_servers_fin_follows_the_unread_bytes",
                    "a_servers_fin_arrives_while_the_upload_is_stalled",
                    "bytes_before_a_servers_close_reach_a_client_that_reads_later",
                    "a_client_cannot_send_to_a_server_that_has_closed",
                    "a_silent_half_closed_session_ends_at_its_time_limit",
                ],
            ],
            Self::ResetBecomesFin | Self::BelievesEndOfFile => &[RESET],
            Self::DropsBlockAtReset => &[BEFORE_RESET, WAITING_BEFORE_RESET],
            Self::ResetsAtOnce => &[WAITING_BEFORE_RESET],
            Self::ForgetsEarlyBytes => &[&[
                "a_request_before_the_server_answers_is_kept",
                "a_fin_before_the_server_answers_is_kept",
                "a_silent_first_address_does_not_hide_the_second",
            ]],
            Self::BelievesSoError => &[RESET_DURING_CONNECT],
            Self::StopsAtFailedWrite => &[BOTH_DIRECTIONS, &["a_reply_before_the_upload_was_read_arrives"]],
            Self::SendsWithoutReader => &[PEER_GONE],
            Self::NeverTimesOut => &[
                &["a_silent_half_closed_session_ends_at_its_time_limit"],
                &["a_session_cut_by_a_time_limit_does_not_look_complete"],
            ],
            Self::CutsWithFin => &[
                &["a_session_cut_by_a_time_limit_does_not_look_complete"],
                &["a_session_left_at_the_drain_timeout_is_reset"],
            ],
            Self::IgnoresTraffic => &[&["traffic_keeps_a_half_closed_session_alive"]],
            Self::LeaksDescriptor => &[&[
                "nothing_is_left_of_a_finished_session",
                "descriptors_are_given_back_however_sessions_end",
            ]],
            Self::RefusalBecomesFin => &[REFUSED_IS_RESET],
            Self::HangsWhenRefused => &[
                RESET_BEFORE_CONNECT,
                REFUSED_IS_RESET,
                MANY_SESSIONS,
                &["a_name_without_address_is_reported"],
            ],
            Self::NeverGivesUp => &[&[
                "a_server_that_does_not_answer_is_given_up",
                "a_silent_first_address_does_not_hide_the_second",
            ]],
            Self::TriesOneAddress => &[&[
                "a_dead_first_address_does_not_hide_the_second",
                "a_silent_first_address_does_not_hide_the_second",
                "a_name_with_ipv6_and_ipv4_reaches_a_server_on_either",
            ]],
            Self::TriesIpv4Only => {
                &[&["a_name_with_ipv6_and_ipv4_reaches_a_server_on_either", "an_ipv6_address_is_reached"]]
            }
            Self::ConnectsInTurn => &[&["others_are_served_while_a_connect_hangs"]],
            Self::ForgetsClosedClients => &[&[
                "a_client_that_closes_while_connecting_does_not_hold_up_the_next",
                "a_client_that_resets_while_connecting_does_not_hold_up_the_next",
            ]],
            Self::StopsAfterRefusal => &[&["service_resumes_when_the_server_comes_up"], MANY_SESSIONS],
            Self::BuffersWithoutBound => &[HELD_BACK],
            Self::SpinsWhenIdle => &[QUIET_SLEEP, STALLED_SLEEP],
            Self::SpinsWhenHalfClosed => &[&["a_half_closed_session_sleeps"]],
            Self::SpinsWhenStalled => &[STALLED_SLEEP],
            Self::SpinsAfterReset => &[&["a_stalled_transfer_whose_sender_has_reset_sleeps"]],
            Self::RetriesFailedWrites => &[&["a_stalled_transfer_whose_reader_has_reset_sleeps"], PEER_GONE],
            Self::LeaksWhenRefused => &[&["descriptors_are_given_back_however_sessions_end"]],
            Self::LeavesCloseWait => {
                &[MANY_SESSIONS, &["a_client_that_closes_while_connecting_does_not_hold_up_the_next"]]
            }
            Self::SpinsWithoutDescriptor => &[&["a_proxy_out_of_descriptors_sleeps"]],
            Self::DiesWithoutDescriptor => {
                &[&["a_proxy_out_of_descriptors_sleeps", "a_proxy_out_of_descriptors_recovers"]]
            }
            Self::StopsWithoutDescriptor => &[&["a_proxy_out_of_descriptors_recovers"]],
            Self::ServesTooMany | Self::ForgetsPendingClients => {
                &[&["a_client_beyond_the_limit_stays_pending_and_loses_nothing"]]
            }
            Self::WritesInTurn => &[BOTH_DIRECTIONS, FAIRNESS, &["stalled_clients_do_not_slow_the_others"]],
            Self::ServesBulkFirst => &[&[
                "stalled_clients_do_not_slow_the_others",
                "a_bulk_transfer_leaves_room_for_small_exchanges",
            ]],
            Self::IgnoresSigterm => &[&["sigterm_ends_an_idle_proxy"], SIGTERM_IN_A_TRANSFER, AFTER_SIGTERM],
            Self::DiesOfSigterm => &[SIGTERM_IN_A_TRANSFER, AFTER_SIGTERM],
            Self::NeverStopsDraining => &[&["a_session_left_at_the_drain_timeout_is_reset"]],
            Self::IgnoresSecondSignal => &[&["a_second_signal_ends_the_process_at_once"]],
            Self::RunsWithoutPort | Self::ReportsSuccess => &[&["a_port_in_use_is_reported"], WITHOUT_PORT],
            Self::AssumesArguments => &[&["a_missing_argument_is_reported"]],
            Self::TakesAnyNumber => &[&["a_number_that_is_no_port_is_reported"]],
            Self::LogsToClient => &[&["service_goes_on_without_a_standard_error"]],
            Self::WaitsForLogReader => &[&["service_goes_on_when_its_log_is_not_read"]],
            Self::DiesWithoutLogReader => &[&["service_goes_on_when_the_reader_of_its_log_has_closed"]],
            Self::NeedsFreshPort => &[&["a_restart_gets_the_port_although_connections_are_in_time_wait"]],
        }
    }

    const fn perhaps(self) -> Groups {
        match self {
            // In every case the peers finish soon after their last byte, and sometimes at once.
            Self::DropsLastByte => &[
                FAR,
                RESET_DURING_CONNECT,
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
            Self::KeepsFullBuffer => &[FAR, WAITING_BEFORE_RESET, SIGTERM_IN_A_TRANSFER],
            // Small blocks come at once wherever bytes are sent or taken in pieces.
            Self::OverwritesSmallBlocks => &[
                FAR,
                RESET_DURING_CONNECT,
                BEFORE_RESET,
                WAITING_BEFORE_RESET,
                FAIRNESS,
                SIGTERM_IN_A_TRANSFER,
                &["an_urgent_byte_arrives_among_the_others"],
            ],
            Self::RepeatsBlock => &[FAIRNESS],
            // It is slow.
            Self::DelaysSmallBlocks => &[&["descriptors_are_given_back_however_sessions_end"]],
            Self::KeepsServersFin => &[RESTART],
            // What comes while a connect hangs is for the next client to send.
            Self::ForgetsEarlyBytes => &[&[
                "a_client_that_closes_while_connecting_does_not_hold_up_the_next",
                "a_client_that_resets_while_connecting_does_not_hold_up_the_next",
                "others_are_served_while_a_connect_hangs",
            ]],
            // A client may be gone before its server is reached, however fast that is.
            Self::ForgetsClosedClients => &[MANY_SESSIONS],
            // It has refused, in a way.
            Self::StopsAfterRefusal => {
                &[&["a_client_that_resets_while_connecting_does_not_hold_up_the_next"]]
            }
            // It is slow with what it holds, and no sender is held back.
            Self::BuffersWithoutBound => &[
                BOTH_DIRECTIONS,
                STALLED_SLEEP,
                &[
                    "a_clients_fin_follows_the_unread_bytes",
                    "a_servers_fin_follows_the_unread_bytes",
                    "a_stalled_transfer_whose_reader_has_reset_sleeps",
                    "stalled_clients_do_not_slow_the_others",
                ],
            ],
            // The server has the first word in these.
            Self::WaitsForClient => &[
                RESET_DURING_CONNECT,
                WITHOUT_LOG,
                RESTART,
                &[
                    "a_server_that_finishes_still_gets_a_late_upload",
                    "a_servers_fin_follows_the_unread_bytes",
                    "bytes_before_a_clients_close_reach_a_server_that_reads_later",
                    "a_server_cannot_send_to_a_client_that_has_closed",
                    "bytes_before_a_clients_reset_arrive",
                    "bytes_before_a_clients_reset_reach_a_server_that_reads_later",
                    "a_clients_reset_is_a_reset_for_the_server",
                    "a_silent_half_closed_session_ends_at_its_time_limit",
                ],
            ],
            Self::DropsBlockAtReset => {
                &[RESET_DURING_CONNECT, &["a_reply_before_the_upload_was_read_arrives"]]
            }
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::topics;

    #[test]
    fn every_case_must_be_failed_by_a_bug() {
        let must_fail: Vec<_> = Bug::all().iter().flat_map(|bug| bug.must_fail()).collect();
        for case in topics().iter().flat_map(|topic| topic.cases) {
            assert!(must_fail.contains(&case.name), "nothing shows that {} can fail", case.name);
        }
    }

    #[test]
    fn the_cases_that_a_bug_fails_exist() {
        let known: Vec<_> = topics().iter().flat_map(|topic| topic.cases).map(|case| case.name).collect();
        for bug in Bug::all() {
            for name in [bug.must_fail(), bug.may_fail()].concat() {
                assert!(known.contains(&name), "{}: {name}", bug.name());
            }
        }
    }
}
