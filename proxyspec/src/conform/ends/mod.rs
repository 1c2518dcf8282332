//! FIN, RST and silence mean on one side what they mean on the other.

mod close;
mod connect;
mod finish;
mod reset;
mod time_limit;

use crate::conform::PeerRole::{Client, Server};
use crate::conform::{Case, Need};
use testkit::peer::Step;

const HALF_CLOSE: &str =
    "RFC 9293, section 3.6: closing says that there is no more to send, and the other side may go on";
const RESET: &str = "RFC 9293, section 3.5.2: a reset tells that the connection was not completed";
const ORDER: &str = "RFC 9293, section 3.6: what was sent before a FIN is delivered before it";

pub(super) const CASES: &[Case] = &[
    Case::new("a_client_that_finishes_still_gets_a_late_answer", |trial| finish::late_answer(trial, Client))
        .expects("the request and FIN at the server, and a second later the answer and FIN at the client")
        .why("The client sends a request and its FIN; the server answers a second after that. A proxy that takes the FIN for the end of both directions cuts the answer off.")
        .source(HALF_CLOSE),
    Case::new("a_server_that_finishes_still_gets_a_late_upload", |trial| finish::late_answer(trial, Server))
        .expects("the greeting and FIN at the client, and a second later the upload and FIN at the server")
        .why("The same the other way round.")
        .source(HALF_CLOSE),
    Case::new("both_sides_may_finish_at_once", finish::both)
        .expects("FIN at both sides after the last byte")
        .why("Both FINs are on their way at the same time.")
        .source("RFC 9293, section 3.6, case 3: simultaneous close"),
    Case::new("a_clients_fin_follows_the_unread_bytes", |trial| finish::behind_unread_bytes(trial, Client))
        .expects("every byte at the server, then FIN")
        .why("The client fills every buffer, then finishes; the server begins to read only then.")
        .source(ORDER),
    Case::new("a_servers_fin_follows_the_unread_bytes", |trial| finish::behind_unread_bytes(trial, Server))
        .expects("every byte at the client, then FIN")
        .why("The same the other way round.")
        .source(ORDER),
    Case::new("a_clients_fin_arrives_while_the_download_is_stalled", |trial| finish::beside_stalled(trial, Client))
        .expects("FIN at the server while the client does not read, then every byte at the client")
        .why("The server fills every buffer towards a client that does not read but finishes. A proxy that writes before it reads again does not see the FIN.")
        .source(HALF_CLOSE),
    Case::new("a_servers_fin_arrives_while_the_upload_is_stalled", |trial| finish::beside_stalled(trial, Server))
        .expects("FIN at the client while the server does not read, then every byte at the server")
        .why("The same the other way round.")
        .source(HALF_CLOSE),
    Case::new("a_request_before_the_server_answers_is_kept", |trial| connect::sent_before(trial, None))
        .expects("the request at the server when it can be reached, then the answer at the client")
        .why("The queue of the server is full, so that the proxy's SYN goes unanswered until the client has sent everything.")
        .source("RFC 9293, section 3.8: what was acknowledged is not lost")
        .deadline(240),
    Case::new("a_fin_before_the_server_answers_is_kept", |trial| connect::sent_before(trial, Some(Step::Fin)))
        .expects("the request and FIN at the server when it can be reached, then the answer and FIN at the client")
        .why("The same, and the client finishes before the server can be reached.")
        .source(ORDER)
        .deadline(240),
    Case::new("bytes_before_a_clients_close_reach_a_server_that_reads_later", |trial| close::after_sending(trial, Client))
        .expects("every byte at the server, then FIN")
        .why("The client sends and closes; the server reads only after that.")
        .source(ORDER),
    Case::new("bytes_before_a_servers_close_reach_a_client_that_reads_later", |trial| close::after_sending(trial, Server))
        .expects("every byte at the client, then FIN")
        .why("The same the other way round.")
        .source(ORDER),
    Case::new("a_server_cannot_send_to_a_client_that_has_closed", |trial| close::nothing_can_be_sent(trial, Server))
        .expects("the server can send no more")
        .why("The client has closed; the server sees its FIN, and sends on. On a direct connection it would get RST.")
        .source("RFC 9293, section 3.6.1: data for a closed connection is answered with a reset"),
    Case::new("a_client_cannot_send_to_a_server_that_has_closed", |trial| close::nothing_can_be_sent(trial, Client))
        .expects("the client can send no more")
        .why("The same the other way round.")
        .source("RFC 9293, section 3.6.1: data for a closed connection is answered with a reset"),
    Case::new("bytes_before_a_clients_reset_arrive", |trial| reset::bytes_before(trial, Client))
        .expects("every byte at the server before the connection ends")
        .why("The client sends, waits for the acknowledgement of the proxy's kernel, and resets.")
        .source(RESET),
    Case::new("bytes_before_a_servers_reset_arrive", |trial| reset::bytes_before(trial, Server))
        .expects("every byte at the client before the connection ends")
        .why("The same the other way round.")
        .source(RESET),
    Case::new("bytes_before_a_clients_reset_reach_a_server_that_reads_later", |trial| reset::waiting_bytes_before(trial, Client))
        .expects("every byte at the server before the connection ends")
        .why("The bytes before the reset are more than the server's socket takes, and it reads only after the reset. Closing with SO_LINGER 0 throws away what the kernel has not sent yet.")
        .source(RESET),
    Case::new("bytes_before_a_servers_reset_reach_a_client_that_reads_later", |trial| reset::waiting_bytes_before(trial, Server))
        .expects("every byte at the client before the connection ends")
        .why("The same the other way round.")
        .source(RESET),
    Case::new("a_clients_reset_is_a_reset_for_the_server", |trial| reset::is_passed_on(trial, Client))
        .expects("RST at the server")
        .why("The client resets an established connection. A FIN instead makes half of an upload look like the whole.")
        .source(RESET),
    Case::new("a_servers_reset_is_a_reset_for_the_client", |trial| reset::is_passed_on(trial, Server))
        .expects("RST at the client")
        .why("The server resets an established connection. A FIN instead makes half of an answer look like the whole.")
        .source(RESET),
    Case::new("bytes_before_a_servers_reset_during_the_connect_arrive", connect::reset_before)
        .expects("every byte at the client before the connection ends")
        .why("While the proxy is stopped (SIGSTOP), the server accepts, sends and resets. SO_ERROR is then ECONNRESET, which looks like a failed connect; the bytes can still be read.")
        .source("connect(2), socket(7): SO_ERROR is that of the connection, not of the attempt")
        .needs(&[Need::Process])
        .deadline(240),
    Case::new("a_reply_before_the_upload_was_read_arrives", close::reply_to_unread_upload)
        .expects("the reply at the client before the connection ends")
        .why("The server answers in mid-upload and closes, as with 413 Content Too Large; unread bytes make its kernel reset. The proxy's next write fails, and the reply is still to be read.")
        .source("RFC 9112, section 9.6, and RFC 2525, section 2.17"),
    Case::new("nothing_is_left_of_a_finished_session", finish::nothing_left)
        .expects("no socket but the one that listens, and as many descriptors as after the first session")
        .why("Both sides have finished. A socket or descriptor that stays open adds up.")
        .source("RFC 9293, section 3.6: after both FINs the connection is closed; close(2)")
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_silent_half_closed_session_ends_at_its_time_limit", time_limit::silence)
        .expects("the session goes on for a while, and has an end within 20 s")
        .why("One side has finished, and the other sends nothing more. With a limit of 2 s on such sessions both connections end, whichever side has finished.")
        .source("RFC 9293, section 3.9.1: a user timeout; RFC 1122, section 4.2.2.13, on half-closed connections that stay"),
    Case::new("a_session_cut_by_a_time_limit_does_not_look_complete", time_limit::cut_is_no_fin)
        .expects("RST at the client")
        .why("The same. The server had not finished, so a FIN to the client would claim an end that the server has not sent.")
        .source(RESET),
    Case::new("traffic_keeps_a_half_closed_session_alive", time_limit::traffic)
        .expects("every byte of 8 s of slow traffic, then FIN")
        .why("One side has finished, and the other sends a byte a second. A limit of 5 s without a byte must not cut that.")
        .source(HALF_CLOSE),
];

const REQUEST: u64 = 1000;
const ANSWER: u64 = 300_000;
