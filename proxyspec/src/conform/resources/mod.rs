//! Memory, processor time and descriptors: bounded, given back, and shared.

mod descriptors;
mod memory;
mod processor;
mod sharing;

use crate::conform::{Case, Need, PeerRole};
use processor::After;

pub(super) const CASES: &[Case] = &[
    Case::new("an_upload_to_a_server_that_does_not_read_is_held_back", |trial| {
        memory::held_back(trial, PeerRole::Client)
    }),
    Case::new("a_download_to_a_client_that_does_not_read_is_held_back", |trial| {
        memory::held_back(trial, PeerRole::Server)
    }),
    Case::of_process("an_idle_proxy_sleeps", processor::idle),
    Case::of_process("a_half_closed_session_sleeps", processor::half_closed),
    Case::of_process("a_stalled_transfer_sleeps", |trial| processor::stalled(trial, After::Nothing)),
    Case::of_process("a_stalled_transfer_whose_sender_has_finished_sleeps", |trial| {
        processor::stalled(trial, After::SenderFinishes)
    }),
    Case::of_process("a_stalled_transfer_whose_sender_has_reset_sleeps", |trial| {
        processor::stalled(trial, After::SenderResets)
    }),
    Case::of_process("a_stalled_transfer_whose_reader_has_reset_sleeps", |trial| {
        processor::stalled(trial, After::ReaderResets)
    }),
    Case::new("descriptors_are_given_back_however_sessions_end", descriptors::given_back)
        .needs(&[Need::Process, Need::Sessions])
        .deadline(240),
    Case::new("no_connection_stays_in_close_wait", descriptors::close_wait)
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_proxy_out_of_descriptors_sleeps", descriptors::exhausted_sleeps)
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_proxy_out_of_descriptors_recovers", descriptors::exhausted_recovers)
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_client_beyond_the_limit_stays_pending_and_loses_nothing", sharing::beyond_the_limit)
        .needs(&[Need::Sessions]),
    Case::new("stalled_clients_do_not_slow_the_others", sharing::stalled_beside_others)
        .needs(&[Need::ManyAtOnce])
        .alone(),
    Case::new("a_bulk_transfer_leaves_room_for_small_exchanges", sharing::fairness)
        .needs(&[Need::ManyAtOnce])
        .alone(),
];
