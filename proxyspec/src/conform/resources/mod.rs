//! Memory, processor time and descriptors: bounded, given back, and shared.

mod descriptors;
mod memory;
mod processor;
mod sharing;

use crate::conform::{Case, Need, PeerRole};
use processor::After;

const FLOW_CONTROL: &str = "RFC 9293, section 3.8.6: the window lets a receiver bound what a sender may send";
const WAITING: &str = "poll(2), epoll(7): a program waits for what it can act upon";

pub(super) const CASES: &[Case] = &[
    Case::new("an_upload_to_a_server_that_does_not_read_is_held_back", |trial| memory::held_back(trial, PeerRole::Client))
        .expects("the client has to stop long before 128 MiB, and the proxy does not grow by what was sent")
        .why("The client sends as much as it can, and the server reads nothing. Without a bound one such client takes all memory of the machine.")
        .source(FLOW_CONTROL),
    Case::new("a_download_to_a_client_that_does_not_read_is_held_back", |trial| memory::held_back(trial, PeerRole::Server))
        .expects("the server has to stop long before 128 MiB, and the proxy does not grow by what was sent")
        .why("The same the other way round: a client that is slow, on purpose or not.")
        .source(FLOW_CONTROL),
    Case::of_process("an_idle_proxy_sleeps", processor::idle)
        .expects("a second with less than a tenth of a processor used, without a client and with one that is silent")
        .why("Nothing happens. A program that polls, or that an event wakes again and again to no effect, uses a processor for nothing.")
        .source(WAITING),
    Case::of_process("a_half_closed_session_sleeps", processor::half_closed)
        .expects("a second with less than a tenth of a processor used, whichever side has finished")
        .why("One side has finished and the other is silent. A proxy that keeps waiting until the finished side can be read is woken at once, and for ever.")
        .source(WAITING),
    Case::of_process("a_stalled_transfer_sleeps", |trial| processor::stalled(trial, After::Nothing))
        .expects("a second with less than a tenth of a processor used, in either direction")
        .why("The sender has filled every buffer, and the reader does not read. A proxy that polls the sender for reading, with no room for its bytes, spins.")
        .source(WAITING),
    Case::of_process("a_stalled_transfer_whose_sender_has_finished_sleeps", |trial| processor::stalled(trial, After::SenderFinishes))
        .expects("a second with less than a tenth of a processor used, in either direction")
        .why("The same, and then the sender finishes.")
        .source(WAITING),
    Case::of_process("a_stalled_transfer_whose_sender_has_reset_sleeps", |trial| processor::stalled(trial, After::SenderResets))
        .expects("a second with less than a tenth of a processor used, in either direction")
        .why("The same, and then the sender resets: an error on a socket is reported whether asked for or not.")
        .source("poll(2): POLLERR and POLLHUP are always reported"),
    Case::of_process("a_stalled_transfer_whose_reader_has_reset_sleeps", |trial| processor::stalled(trial, After::ReaderResets))
        .expects("a second with less than a tenth of a processor used, in either direction")
        .why("The same, and then the reader resets, while the sender does nothing.")
        .source("poll(2): POLLERR and POLLHUP are always reported"),
    Case::new("descriptors_are_given_back_however_sessions_end", descriptors::given_back)
        .expects("after two thousand sessions, as many descriptors as after forty, and no connection")
        .why("Sessions end in every way: FIN of either side first, RST of either, close with unread bytes, close without a byte, refused. What one of them leaves open adds up until the proxy cannot serve.")
        .source("close(2); getrlimit(2), RLIMIT_NOFILE")
        .needs(&[Need::Process, Need::Sessions])
        .deadline(240),
    Case::new("no_connection_stays_in_close_wait", descriptors::close_wait)
        .expects("no connection of the proxy in CLOSE_WAIT once both sides of every session have closed")
        .why("CLOSE_WAIT means that the other side has finished and this program has not closed yet: it never times out.")
        .source("RFC 9293, section 3.3.2: CLOSE-WAIT waits for the local user")
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_proxy_out_of_descriptors_sleeps", descriptors::exhausted_sleeps)
        .expects("a second with less than a tenth of a processor used while clients wait")
        .why("The proxy may open no further descriptor, and clients come. They stay in the queue, so accept(2) fails at once, each time it is tried.")
        .source("accept(2): EMFILE; getrlimit(2), RLIMIT_NOFILE")
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_proxy_out_of_descriptors_recovers", descriptors::exhausted_recovers)
        .expects("the session that was there goes on, and a client is served once there are descriptors again")
        .why("The same, and then the limit is raised. The clients that came meanwhile may be reset; the next one must be served.")
        .source("accept(2): EMFILE; getrlimit(2), RLIMIT_NOFILE")
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_client_beyond_the_limit_stays_pending_and_loses_nothing", sharing::beyond_the_limit)
        .expects("every byte at the server once a session has ended, then the answer")
        .why("The proxy serves as many clients as its limit allows, 2 if the limit can be set. One more client connects and sends its request. The case does not apply to a proxy that rejects such clients.")
        .source("listen(2): connections wait in the queue")
        .needs(&[Need::Sessions]),
    Case::new("stalled_clients_do_not_slow_the_others", sharing::stalled_beside_others)
        .expects("sessions take at most ten times and a second longer than before")
        .why("Two sessions are stalled, one in each direction, because a peer does not read. A proxy that blocks in write(2) serves no other client meanwhile.")
        .source("write(2): EAGAIN; epoll(7)")
        .needs(&[Need::ManyAtOnce])
        .alone(),
    Case::new("a_bulk_transfer_leaves_room_for_small_exchanges", sharing::fairness)
        .expects("half of the exchanges take at most twenty times and 100 ms longer than beside a direct transfer")
        .why("One session carries as many bytes as it can, while ten others exchange single bytes. A proxy that steps one session as long as it has bytes starves the others.")
        .source("epoll(7): on starvation")
        .needs(&[Need::ManyAtOnce])
        .alone(),
];
