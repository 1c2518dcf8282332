//! FIN, RST and silence mean on one side what they mean on the other.

mod close;
mod connect;
mod finish;
mod reset;
mod time_limit;

use crate::conform::PeerRole::{Client, Server};
use crate::conform::{Case, Need};
use testkit::peer::Step;

pub(super) const CASES: &[Case] = &[
    Case::new("a_client_that_finishes_still_gets_a_late_answer", |trial| finish::late_answer(trial, Client)),
    Case::new("a_server_that_finishes_still_gets_a_late_upload", |trial| finish::late_answer(trial, Server)),
    Case::new("both_sides_may_finish_at_once", finish::both),
    Case::new("a_clients_fin_follows_the_unread_bytes", |trial| finish::behind_unread_bytes(trial, Client)),
    Case::new("a_servers_fin_follows_the_unread_bytes", |trial| finish::behind_unread_bytes(trial, Server)),
    Case::new("a_clients_fin_arrives_while_the_download_is_stalled", |trial| {
        finish::beside_stalled(trial, Client)
    }),
    Case::new("a_servers_fin_arrives_while_the_upload_is_stalled", |trial| {
        finish::beside_stalled(trial, Server)
    }),
    Case::new("a_request_before_the_server_answers_is_kept", |trial| connect::sent_before(trial, None))
        .deadline(240),
    Case::new("a_fin_before_the_server_answers_is_kept", |trial| {
        connect::sent_before(trial, Some(Step::Fin))
    })
    .deadline(240),
    Case::new("bytes_before_a_clients_close_reach_a_server_that_reads_later", |trial| {
        close::after_sending(trial, Client)
    }),
    Case::new("bytes_before_a_servers_close_reach_a_client_that_reads_later", |trial| {
        close::after_sending(trial, Server)
    }),
    Case::new("a_server_cannot_send_to_a_client_that_has_closed", |trial| {
        close::nothing_can_be_sent(trial, Server)
    }),
    Case::new("a_client_cannot_send_to_a_server_that_has_closed", |trial| {
        close::nothing_can_be_sent(trial, Client)
    }),
    Case::new("bytes_before_a_clients_reset_arrive", |trial| reset::bytes_before(trial, Client)),
    Case::new("bytes_before_a_servers_reset_arrive", |trial| reset::bytes_before(trial, Server)),
    Case::new("bytes_before_a_clients_reset_reach_a_server_that_reads_later", |trial| {
        reset::waiting_bytes_before(trial, Client)
    }),
    Case::new("bytes_before_a_servers_reset_reach_a_client_that_reads_later", |trial| {
        reset::waiting_bytes_before(trial, Server)
    }),
    Case::new("a_clients_reset_is_a_reset_for_the_server", |trial| reset::is_passed_on(trial, Client)),
    Case::new("a_servers_reset_is_a_reset_for_the_client", |trial| reset::is_passed_on(trial, Server)),
    Case::new("bytes_before_a_servers_reset_during_the_connect_arrive", connect::reset_before)
        .needs(&[Need::Process])
        .deadline(240),
    Case::new("a_reply_before_the_upload_was_read_arrives", close::reply_to_unread_upload),
    Case::new("nothing_is_left_of_a_finished_session", finish::nothing_left)
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_silent_half_closed_session_ends_at_its_time_limit", time_limit::silence),
    Case::new("a_session_cut_by_a_time_limit_does_not_look_complete", time_limit::cut_is_no_fin),
    Case::new("traffic_keeps_a_half_closed_session_alive", time_limit::traffic),
];

const REQUEST: u64 = 1000;
const ANSWER: u64 = 300_000;
