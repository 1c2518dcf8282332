//! Whole sessions in memory: two peers, a network and the time do what a plan says, and the session between
//! them must keep its promises after each step.
//!
//! Plans come from an enumeration and from proptest (`sessions.rs`), and from a fuzzer (`fuzz/` in the
//! repository).

mod plan;
mod promises;
pub(crate) mod socket;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::testing::Stage;
use eventloop::{Connect, Connected, Intents, Ready};
use relay::{Dial, Limits, ProxySession, SessionEnd, SessionEvent, Side};
use ringbuf::Pool;

pub(crate) use plan::*;
use socket::{Simulated, Socket, World};

const LINGER: Duration = Duration::from_secs(20);
const OPENING: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(30);
const REPLY: &[u8] = b"no";

impl Plan {
    /// Does everything planned, then lets time pass until the session is over.
    ///
    /// # Panics
    ///
    /// When the session breaks a promise.
    pub(crate) fn run(&self) {
        let mut run = Run::new(self.setup);
        run.turn();
        for &op in &self.ops {
            run.meet(op);
        }
        run.go_on_to_the_end();
        run.judge();
    }
}

/// The attempt to connect.
struct SimulatedDial {
    world: Rc<RefCell<World>>,
    answer: Rc<RefCell<Option<Answer>>>,
    until: Instant,
}

impl Dial for SimulatedDial {
    type Connection = Simulated;
    type Error = ErrorKind;

    fn intents(&self, intents: &mut Intents<'_>) {
        intents.deadline(self.until);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Connect<Simulated, ErrorKind> {
        let reset = match *self.answer.borrow() {
            Some(Answer::Refused) => return Connect::Failed(ErrorKind::ConnectionRefused),
            None if self.until <= ready.now() => return Connect::Failed(ErrorKind::TimedOut),
            None => return Connect::Pending,
            // Asking whether the connection was made has used up the error.
            Some(Answer::ConnectedAndReset) => Some(ErrorKind::ConnectionReset.into()),
            Some(Answer::Connected | Answer::ConnectedSentAndReset(_)) => None,
        };
        self.world.borrow_mut().connected = true;
        let stream = Simulated::new(&self.world, Side::Server);
        Connect::Connected(Connected { stream, address: ([192, 0, 2, 1], 80).into(), reset })
    }
}

/// A session and its surroundings.
struct Run {
    setup: Setup,
    world: Rc<RefCell<World>>,
    answer: Rc<RefCell<Option<Answer>>>,
    /// The answer has not been noticed yet.
    answered: bool,
    stage: Stage,
    pool: Pool,
    capacity: usize,
    session: Option<ProxySession<SimulatedDial>>,
    end: Option<SessionEnd>,
    ended_at: Instant,
    began: Instant,
    /// When something last happened from outside.
    last_op: Instant,
    connected: bool,
    owner_closed: bool,
    /// Calls and time at the last step, and steps since then that have changed neither.
    progress: (u64, Instant),
    idle_steps: u32,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let (capacity, room) = (usize::from(setup.ring % 8) + 1, u64::from(setup.room % 8) + 1);
        let patience =
            [setup.idle, setup.half_close].into_iter().flatten().min().map_or(u64::MAX >> 32, u64::from);
        let world = Rc::new(RefCell::new(World {
            now,
            client: Socket::new(room),
            server: Socket::new(room),
            calls: 0,
            tells_acknowledged: setup.tells_acknowledged,
            tells_finished: setup.tells_finished,
            linger: LINGER,
            connected: false,
            refused: false,
            cut: false,
            last_bytes: now,
            patience: Duration::from_secs(patience),
        }));
        let pool = Pool::new(capacity, 2);
        let ring = || pool.reserve().expect("the pool has two rings");
        let seconds = |seconds: Option<u8>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let limits = Limits {
            opening: OPENING,
            linger: LINGER,
            idle: seconds(setup.idle),
            half_close: seconds(setup.half_close),
        };
        let client = Simulated::new(&world, Side::Client);
        let mut session = ProxySession::new(client, ring(), ring(), limits, now);
        session.limit_rate(setup.up_rate.map(u64::from), setup.down_rate.map(u64::from), now);
        let answer = Rc::default();
        if setup.opening.is_none() {
            session.connect(dial(&world, &answer));
        }
        Self {
            setup,
            world,
            answer,
            answered: false,
            stage: Stage::new(),
            pool,
            capacity,
            session: Some(session),
            end: None,
            ended_at: now,
            began: now,
            last_op: now,
            connected: false,
            owner_closed: false,
            progress: (0, now),
            idle_steps: 0,
        }
    }

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    fn meet(&mut self, op: Op) {
        if self.session.is_none() {
            return;
        }
        self.last_op = self.now();
        self.idle_steps = 0;
        match op {
            Op::Send(end, n) => self.peer(end, |socket, _| socket.send(n.into())),
            Op::SendAndFinish(end, n) => self.peer(end, |socket, _| {
                socket.send(n.into());
                socket.finish();
            }),
            Op::SendAndReset(end, n) => self.peer(end, |socket, now| {
                socket.send(n.into());
                socket.reset(now);
            }),
            Op::SendUrgent(end) => self.peer(end, |socket, _| socket.send_urgent()),
            Op::Transmit(end, n) => self.peer(end, |socket, _| socket.transmit(n.into())),
            Op::Acknowledge(end, n) => self.peer(end, |socket, _| socket.acknowledge(n.into())),
            Op::Answer(answer) => self.answer(answer),
            Op::Wait(seconds) => self.pass(Duration::from_secs(seconds.into())),
            Op::WaitForDeadline => {
                let until = self.declared().map_or(Duration::ZERO, |at| at - self.now());
                self.pass(until);
            }
            Op::Wake => self.step(),
            Op::Close => {
                let now = self.now();
                self.world.borrow_mut().cut = true;
                self.owner_closed = true;
                if let Some(session) = &mut self.session {
                    session.close(now);
                }
            }
        }
        self.turn();
    }

    /// Something happens at a peer that is connected.
    fn peer(&mut self, end: End, work: impl FnOnce(&mut Socket, Instant)) {
        if end == End::Client || self.connected {
            let mut world = self.world.borrow_mut();
            let now = world.now;
            work(world.socket(end.into()), now);
        }
    }

    fn answer(&mut self, answer: Answer) {
        if self.answered {
            return;
        }
        self.answered = true;
        *self.answer.borrow_mut() = Some(answer);
        let mut world = self.world.borrow_mut();
        let now = world.now;
        match answer {
            Answer::Connected | Answer::Refused => {}
            Answer::ConnectedAndReset => {
                world.server.reset(now);
                world.server.error_is_taken();
            }
            Answer::ConnectedSentAndReset(n) => {
                world.server.send(n.into());
                world.server.reset(now);
            }
        }
    }

    /// Time passes, with a step at each deadline on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now() + time;
        while let Some(at) = self.declared().filter(|&at| at <= until) {
            let now = self.now().max(at);
            self.world.borrow_mut().now = now;
            self.step();
            self.turn();
        }
        self.world.borrow_mut().now = until;
    }

    /// What the session declares: the deadline.
    fn declared(&self) -> Option<Instant> {
        let session = self.session.as_ref()?;
        {
            let mut world = self.world.borrow_mut();
            (world.client.intent, world.server.intent) = (None, None);
        }
        let declared = self.stage.declared(|intents| session.intents(intents));
        if declared.again() { Some(self.now()) } else { declared.deadline() }
    }

    /// Steps of the session until nothing is ready and no deadline has passed.
    fn turn(&mut self) {
        loop {
            let due = self.declared().is_some_and(|at| at <= self.now());
            let dialed = self.session.is_some() && self.answered && self.is_connecting();
            let ready = {
                let mut world = self.world.borrow_mut();
                let tells = world.tells_finished;
                world.client.poll(tells) | world.server.poll(tells)
            };
            if self.session.is_none() || !(ready || due || dialed) {
                return;
            }
            self.step();
            let progress = (self.world.borrow().calls, self.now());
            self.idle_steps = if progress == self.progress { self.idle_steps + 1 } else { 0 };
            self.progress = progress;
            assert!(self.idle_steps < 8, "the session spins: {:?}", self.session);
        }
    }

    fn is_connecting(&self) -> bool {
        !self.connected
            && *self.answer.borrow() != Some(Answer::Refused)
            && Rc::strong_count(&self.answer) > 1
    }

    /// One step, with what the sockets have ready.
    fn step(&mut self) {
        let now = self.now();
        while let Some(session) = &mut self.session {
            let event = session.advance(&self.stage.ready(now));
            match event {
                SessionEvent::Waiting => break,
                SessionEvent::FirstBytes => self.look_at_first_bytes(),
                SessionEvent::Connected(_) => {
                    self.connected = true;
                    self.greet();
                }
                SessionEvent::ConnectFailed(error) => {
                    let refused = *self.answer.borrow() == Some(Answer::Refused);
                    let expected = if refused { ErrorKind::ConnectionRefused } else { ErrorKind::TimedOut };
                    assert_eq!(error, expected);
                    if self.setup.opening.is_some_and(|opening| opening.replies) {
                        self.refuse();
                    }
                }
                SessionEvent::Ended(end) => {
                    (self.end, self.ended_at) = (Some(end), now);
                    self.session = None;
                }
            }
            let mut world = self.world.borrow_mut();
            (world.client.ready, world.server.ready) = Default::default();
            drop(world);
            self.verify();
        }
        let mut world = self.world.borrow_mut();
        (world.client.ready, world.server.ready) = Default::default();
        drop(world);
        self.verify();
    }

    fn look_at_first_bytes(&mut self) {
        let (Some(opening), Some(session)) = (self.setup.opening, &mut self.session) else {
            panic!("first bytes of a session that has chosen its destination");
        };
        let len = session.first_bytes().len();
        for (at, &byte) in session.first_bytes().iter().enumerate() {
            let offset = self.world.borrow().client.consumed + at as u64;
            assert_eq!(byte, socket::byte(Side::Client, offset));
        }
        if len < usize::from(opening.needs) && !session.client_has_ended() {
            if opening.replies {
                session.send_to_client(REPLY);
                self.world.borrow_mut().client.preface.extend(REPLY);
            }
            return;
        }
        let taken = len.min(opening.takes.into());
        session.consume(taken);
        self.world.borrow_mut().client.consumed += taken as u64;
        if opening.refuses {
            self.refuse();
        } else {
            session.connect(dial(&self.world, &self.answer));
        }
    }

    fn refuse(&mut self) {
        if let Some(session) = &mut self.session {
            let mut world = self.world.borrow_mut();
            world.client.preface.extend(REPLY);
            world.refused = true;
            let now = world.now;
            drop(world);
            session.refuse(REPLY, now);
        }
    }

    /// What the program sends of its own when the server is connected.
    fn greet(&mut self) {
        let Some(session) = &mut self.session else { return };
        let mut world = self.world.borrow_mut();
        for (socket, len) in [(Side::Client, self.setup.to_client), (Side::Server, self.setup.to_server)] {
            let greeting: Vec<u8> = (0..len % 8).map(|byte| byte | 0x80).collect();
            match socket {
                Side::Client => session.send_to_client(&greeting),
                Side::Server => session.send_to_server(&greeting),
            }
            world.socket(socket).preface.extend(&greeting);
        }
    }

    /// The network delivers again, unless it is to stall, and time passes until the session is over.
    fn go_on_to_the_end(&mut self) {
        let mut stalls = self.setup.stalls;
        for _ in 0..20_000 {
            if self.session.is_none() {
                return;
            }
            if !stalls {
                let mut world = self.world.borrow_mut();
                for peer in [Side::Client, Side::Server] {
                    world.socket(peer).transmit(u64::MAX >> 1);
                    world.socket(peer).acknowledge(u64::MAX >> 1);
                }
            }
            let before = self.world.borrow().calls;
            self.turn();
            if self.world.borrow().calls > before {
                continue;
            }
            match self.declared() {
                Some(at) if self.session.is_some() => {
                    let now = self.now().max(at);
                    self.world.borrow_mut().now = now;
                    self.turn();
                }
                _ if self.session.is_none() => return,
                // Without a limit it may last for ever; so the peers finish, and take everything.
                _ => {
                    let world = self.world.borrow();
                    let failed = world.client.peer_reset.or(world.server.peer_reset).is_some();
                    let unlimited = self.setup.idle.is_none() && !failed;
                    assert!(unlimited, "a session that waits for no deadline: {:?}", self.session);
                    drop(world);
                    stalls = false;
                    self.last_op = self.now();
                    for end in [End::Client, End::Server] {
                        self.peer(end, |socket, _| socket.finish());
                    }
                }
            }
        }
        panic!("the session does not end: {:?}\n{:#?}", self.session, self.world.borrow());
    }
}

fn dial(world: &Rc<RefCell<World>>, answer: &Rc<RefCell<Option<Answer>>>) -> SimulatedDial {
    let until = world.borrow().now + CONNECT;
    SimulatedDial { world: world.clone(), answer: answer.clone(), until }
}
