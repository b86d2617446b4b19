//! The benches of one thread: one runtime, one round of work every few milliseconds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_link::LinkEvent;
use fleet_domain::DeviceId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

use super::{EndedBench, PopulationOptions};
use crate::bench::{Bench, BenchError, Due, Moment, Setup};
use crate::disks::{BenchDisk, Gate};
use crate::figures::{Counts, Figures, Standing};
use crate::rng::Rng;
use crate::schedule::{Curve, Schedule};
use crate::work::Work;

/// A part of the benches is asked for its deadlines so often.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// In so many parts, so that each bench's turn comes twice a second: the deadlines are those of resends and syncs.
const PARTS: usize = 20;
/// Messages of a link that are taken at once.
const TAKEN_AT_ONCE: usize = 64;
/// How long the last flush and the goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// A bench to be.
pub(super) struct Seat<B> {
    pub(super) device: DeviceId,
    pub(super) disk: B,
    pub(super) work: Work,
    pub(super) seed: u64,
    pub(super) standing: Arc<Standing>,
}

/// What a thread is told.
pub(super) enum Order {
    Begin {
        at: Instant,
        curve: Curve,
        phases: Vec<Duration>,
    },
    Quiet,
    ReconnectAll,
    Figures(oneshot::Sender<Figures>),
    Counts(oneshot::Sender<Counts>),
    End(oneshot::Sender<(Figures, Vec<EndedBench>)>),
}

/// What the tasks of a thread share.
struct Common {
    /// Benches that hold something until a flush, each once.
    holding: RefCell<Vec<usize>>,
    listed: RefCell<Vec<bool>>,
    ending: Cell<bool>,
    failure: Arc<Mutex<Option<BenchError>>>,
}

impl Common {
    fn holds(&self, index: usize) {
        if let Some(listed) = self.listed.borrow_mut().get_mut(index)
            && !std::mem::replace(listed, true)
        {
            self.holding.borrow_mut().push(index);
        }
    }

    fn failed(&self, error: BenchError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    }
}

struct Running {
    begun: Instant,
    schedule: Schedule,
    phases: Vec<Duration>,
    next: Option<(Duration, usize)>,
}

impl Running {
    fn take_due(&mut self, now: Instant) -> Option<(Due, usize)> {
        let (offset, bench) = self
            .next
            .take_if(|(offset, _)| self.begun.checked_add(*offset).is_some_and(|at| at <= now))?;
        self.next = self.schedule.next();
        let phase = self.phases.iter().take_while(|end| offset >= **end).count();
        let due = Due {
            at: self.begun + offset,
            phase: phase.min(self.phases.len().saturating_sub(1)),
            offset_us: u64::try_from(offset.as_micros()).unwrap_or(u64::MAX),
        };
        Some((due, bench))
    }
}

type Shared<T> = Rc<RefCell<T>>;

/// The benches of a thread.
pub(super) struct Shard<B: BenchDisk> {
    benches: Vec<Shared<Bench<B>>>,
    readers: Vec<Option<JoinHandle<()>>>,
    gate: Gate,
    common: Rc<Common>,
    figures: Shared<Figures>,
    options: PopulationOptions,
    rng: Rng,
    running: Option<Running>,
    /// Benches started, and the time between two.
    started: usize,
    start_every: Duration,
    begun: Instant,
    last_round: Instant,
    looked_at: usize,
    looked: Instant,
    /// Benches that appended something in this round.
    dirty: Vec<usize>,
}

impl<B: BenchDisk + Send + 'static> Shard<B> {
    /// The whole life of a thread of benches.
    pub(super) fn run(
        number: usize,
        seats: Vec<Seat<B>>,
        setup: &Arc<Setup>,
        options: &PopulationOptions,
        orders: mpsc::UnboundedReceiver<Order>,
        failure: &Arc<Mutex<Option<BenchError>>>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Without a runtime the thread ends, and who waits for its answer sees that.
        let Ok(runtime) = runtime else { return };
        let shard = Self::new(number, seats, setup, options, failure);
        LocalSet::new().block_on(&runtime, shard.live(orders));
        runtime.shutdown_background();
    }

    fn new(
        number: usize,
        seats: Vec<Seat<B>>,
        setup: &Arc<Setup>,
        options: &PopulationOptions,
        failure: &Arc<Mutex<Option<BenchError>>>,
    ) -> Self {
        let figures = Rc::new(RefCell::new(Figures::new(1)));
        let gate = seats.first().map(|seat| seat.disk.gate()).unwrap_or_default();
        let bench = |seat: Seat<B>| {
            let bench = Bench::new(
                Arc::clone(setup),
                seat.device,
                seat.disk,
                seat.work,
                seat.seed,
                seat.standing,
                Rc::clone(&figures),
                options.client_log.clone(),
            );
            Rc::new(RefCell::new(bench))
        };
        let benches: Vec<_> = seats.into_iter().map(bench).collect();
        let count = benches.len();
        #[expect(clippy::cast_precision_loss, reason = "a few threads")]
        let threads = options.threads.max(1) as f64;
        let per_second = options.starts_per_second.map(|rate| (rate / threads).max(0.001));
        let now = Instant::now();
        Self {
            benches,
            readers: (0..count).map(|_| None).collect(),
            gate,
            common: Rc::new(Common {
                holding: RefCell::default(),
                listed: RefCell::new(vec![false; count]),
                ending: Cell::new(false),
                failure: Arc::clone(failure),
            }),
            figures,
            options: options.clone(),
            rng: Rng::new(options.seed ^ (number as u64 + 1)),
            running: None,
            started: 0,
            start_every: per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            begun: now,
            last_round: now,
            looked_at: 0,
            looked: now,
            dirty: Vec::new(),
        }
    }

    async fn live(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut flushed = self.gate.subscribe();
        loop {
            let wake = tokio::time::Instant::from_std(self.next_round());
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::End(reply)) => return self.end(reply).await,
                    Some(order) => self.obey(order),
                },
                () = a_flush(&mut flushed) => self.release(),
                () = tokio::time::sleep_until(wake) => self.round(),
            }
        }
    }

    fn next_round(&self) -> Instant {
        let event = self.running.as_ref().and_then(|running| {
            let (offset, _) = running.next.as_ref()?;
            running.begun.checked_add(*offset)
        });
        let look = self.looked + LOOK_EVERY;
        let start = (self.started < self.benches.len()).then(|| self.start_at(self.started));
        let next = [event, start].into_iter().flatten().fold(look, Instant::min);
        next.max(self.last_round + self.options.round)
    }

    fn start_at(&self, index: usize) -> Instant {
        self.begun
            + self
                .start_every
                .saturating_mul(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin { at, curve, phases } => {
                self.figures.borrow_mut().phases = Figures::new(phases.len()).phases;
                let mut schedule = Schedule::new(curve, self.benches.len(), self.rng.draw());
                self.running = Some(Running {
                    begun: at,
                    next: schedule.next(),
                    schedule,
                    phases,
                });
            }
            Order::Quiet => self.running = None,
            Order::ReconnectAll => {
                for bench in &self.benches {
                    bench.borrow_mut().reconnect();
                }
            }
            // Who asked may have gone.
            Order::Figures(reply) => drop(reply.send(self.figures.borrow().clone())),
            Order::Counts(reply) => drop(reply.send(self.figures.borrow().counts)),
            Order::End(_) => {}
        }
    }

    fn round(&mut self) {
        let now = Moment::now();
        self.last_round = now.instant;
        while self.started < self.benches.len() && self.start_at(self.started) <= now.instant {
            self.start(self.started, &now);
            self.started += 1;
        }
        self.tell(&now);
        for index in std::mem::take(&mut self.dirty) {
            self.with(index, |bench| bench.commit(&now));
        }
        if now.instant >= self.looked + LOOK_EVERY {
            self.looked = now.instant;
            self.look(&now);
        }
        self.gate.flush();
    }

    /// Appends what is due by now, as many events as a bench has.
    fn tell(&mut self, now: &Moment) {
        loop {
            let due = self
                .running
                .as_mut()
                .and_then(|running| running.take_due(now.instant));
            let Some((due, index)) = due else { return };
            if index < self.started && self.rng.chance(self.options.restart_permille) {
                self.with(index, |bench| bench.die(now));
                self.start(index, now);
            }
            self.with(index, |bench| bench.tell(due, now));
            if self.dirty.last() != Some(&index) {
                self.dirty.push(index);
            }
        }
    }

    /// Looks at the deadlines of the next part of the benches.
    fn look(&mut self, now: &Moment) {
        let count = self.benches.len().div_ceil(PARTS).min(self.started);
        for _ in 0..count {
            let index = self.looked_at % self.started.max(1);
            self.looked_at = index + 1;
            self.with(index, |bench| bench.tick(now));
        }
    }

    fn release(&mut self) {
        let holding = std::mem::take(&mut *self.common.holding.borrow_mut());
        for index in holding {
            if let Some(listed) = self.common.listed.borrow_mut().get_mut(index) {
                *listed = false;
            }
            self.with(index, Bench::release);
        }
    }

    /// Has a bench do something. One that fails takes no part any more.
    fn with(&self, index: usize, act: impl FnOnce(&mut Bench<B>) -> Result<(), BenchError>) {
        let Some(bench) = self.benches.get(index) else {
            return;
        };
        let mut bench = bench.borrow_mut();
        if let Err(error) = act(&mut bench) {
            bench.stop();
            self.common.failed(error);
        }
        if bench.holds() {
            self.common.holds(index);
        }
    }

    fn start(&mut self, index: usize, now: &Moment) {
        let mut events = None;
        self.with(index, |bench| {
            events = Some(bench.start(now)?);
            Ok(())
        });
        let (Some(events), Some(bench)) = (events, self.benches.get(index)) else {
            return;
        };
        // Now, and not when the reader begins: by then the bench may have been started again.
        let process = bench.borrow().starts;
        let reader = read(
            index,
            process,
            Rc::clone(bench),
            events,
            Rc::clone(&self.common),
            self.gate.clone(),
        );
        if let Some(place) = self.readers.get_mut(index) {
            *place = Some(tokio::task::spawn_local(reader));
        }
    }

    async fn end(mut self, reply: oneshot::Sender<(Figures, Vec<EndedBench>)>) {
        let until = Instant::now() + GOODBYE;
        self.running = None;
        self.gate.flush();
        let holds = |this: &Self| !this.common.holding.borrow().is_empty();
        while holds(&self) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.release();
        }
        self.common.ending.set(true);
        let now = Moment::now();
        for bench in &self.benches {
            bench.borrow_mut().end(&now);
        }
        self.gate.flush();
        let readers: Vec<_> = std::mem::take(&mut self.readers).into_iter().flatten().collect();
        let late: Vec<_> = readers.iter().map(JoinHandle::abort_handle).collect();
        let goodbyes = async {
            for reader in readers {
                let _ = reader.await;
            }
        };
        // The will says the same.
        if tokio::time::timeout(GOODBYE, goodbyes).await.is_err() {
            late.iter().for_each(tokio::task::AbortHandle::abort);
        }
        let figures = self.figures.borrow().clone();
        let mut ended = Vec::new();
        for bench in std::mem::take(&mut self.benches) {
            bench.borrow_mut().stop();
            let device = bench.borrow().device.clone();
            match into_inner(bench).await {
                Some(bench) => ended.push(EndedBench::new(bench.into_parts())),
                None => self.common.failed(BenchError::Link { device }),
            }
        }
        // Who asked may have gone.
        let _ = reply.send((figures, ended));
    }
}

/// The bench, once its reader, which was told to end, does not hold it any more.
async fn into_inner<T>(mut shared: Shared<T>) -> Option<T> {
    for _ in 0..GOODBYE.as_millis() {
        match Rc::try_unwrap(shared) {
            Ok(inner) => return Some(inner.into_inner()),
            Err(again) => shared = again,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}

/// The next flush; never without a log that is shared.
async fn a_flush(flushed: &mut Option<watch::Receiver<u64>>) {
    if let Some(flushed) = flushed
        && flushed.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Takes what the link of a bench's process brings, until one of the two ends.
async fn read<B: BenchDisk>(
    index: usize,
    process: u64,
    bench: Shared<Bench<B>>,
    mut events: mpsc::Receiver<LinkEvent>,
    common: Rc<Common>,
    gate: Gate,
) {
    let mut taken = Vec::new();
    loop {
        let count = events.recv_many(&mut taken, TAKEN_AT_ONCE).await;
        let mut bench = bench.borrow_mut();
        if !bench.runs(process) {
            return;
        }
        if count == 0 {
            if !common.ending.get() {
                let device = bench.device.clone();
                bench.stop();
                common.failed(BenchError::Link { device });
            }
            return;
        }
        let now = Moment::now();
        for event in taken.drain(..) {
            if let Err(error) = bench.take(event, &now) {
                bench.stop();
                common.failed(error);
                return;
            }
        }
        if bench.holds() {
            common.holds(index);
            gate.flush();
        }
    }
}
