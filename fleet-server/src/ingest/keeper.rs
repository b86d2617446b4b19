//! The keeper of the slots: claims, renews, shares them with the other replicas and gives them back in order.
//!
//! Everything is a lease in the database (delivery rule 9). What this process believes of its leases ends with
//! their length, measured on a clock that runs through suspend and through a stopped process; what it does under
//! one that has ended is refused by the term.

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::{ReplicaNotice, ReplicaRow, SlotLease, SlotTerm, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::presence;
use super::share::{Plan, View, plan};
use super::slots::Slots;
use crate::broker::{BrokerState, Reach};
use crate::metrics::{HandOver, SlotMetrics};
use crate::storage::StoreHealth;

/// How often the slots are looked at without a cause.
const LOOK: Duration = Duration::from_secs(1);
/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an orderly end may take: what was taken is committed and acknowledged, then the leases are released.
const LEAVE_WITHIN: Duration = Duration::from_secs(6);
/// Longest wait for one answer of the database at an orderly end.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Begins the broker of a replica that does not reach it, or may not use it: it takes no part in the sharing.
const ABSENT: [&str; 2] = ["unreachable:", "refused:"];

/// What a replica says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Owner of its leases.
    pub(crate) owner: String,
    /// Its broker's URL without a user, or `embedded:{owner}`.
    pub(crate) broker: String,
    /// Where its API is.
    pub(crate) http: String,
}

pub(super) struct Keeper {
    pub(super) slots: Slots,
    pub(super) store: Arc<dyn Store>,
    pub(super) health: StoreHealth,
    pub(super) identity: Identity,
    pub(super) lease: Duration,
    pub(super) reach: Reach,
    /// The broker is in the process: who was connected to the one before is not.
    pub(super) embedded: bool,
    pub(super) metrics: SlotMetrics,
    /// Give everything back and end.
    pub(super) leave: CancellationToken,
}

/// What the keeper keeps between two looks.
struct Memory {
    /// Boot time at which the leases were renewed last, as asked.
    renewed: Duration,
    /// Boot time at which this replica announced itself last, and with which broker.
    announced: Option<(Duration, String)>,
    /// Another broker than the plant's: until a restart, or until they agree.
    refused: Option<BrokerState>,
    /// Slots that this process has claimed at least once.
    seen: Vec<Slot>,
    /// The store's trouble that was told.
    told: Option<&'static str>,
    /// Boot time of the last look that the store answered.
    looked: Duration,
}

impl Keeper {
    /// Runs until it is told to leave. Safe to cancel: leases end by themselves.
    pub(super) async fn run(self) {
        let mut memory = Memory {
            renewed: fleet_clock::boot_now(),
            announced: None,
            refused: None,
            seen: Vec::new(),
            told: None,
            looked: fleet_clock::boot_now(),
        };
        tokio::select! {
            () = self.health.usable() => {}
            // Nothing was claimed.
            () = self.leave.cancelled() => return,
        }
        loop {
            let next = match self.look(&mut memory).await {
                Ok(next) => {
                    memory.told = None;
                    memory.looked = fleet_clock::boot_now();
                    next
                }
                Err(error) => {
                    self.tell(&mut memory, &error);
                    LOOK
                }
            };
            tokio::select! {
                () = self.leave.cancelled() => return self.give_everything_back().await,
                () = tokio::time::sleep(next.max(PAUSE)) => {}
                () = self.slots.look.notified() => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn tell(&self, memory: &mut Memory, error: &StoreError) {
        if memory.told != Some(error.state()) {
            memory.told = Some(error.state());
            tracing::error!(
                error = error as &dyn std::error::Error,
                "slots can't be claimed or renewed at the moment"
            );
        }
        let silent_for = fleet_clock::boot_now().saturating_sub(memory.looked);
        if silent_for >= self.lease {
            // Nobody can renew without the database, so what was seen last does not hold any more.
            self.slots.set_view(|view| {
                view.others = 0;
                view.incomplete_since.get_or_insert(memory.looked);
            });
        }
    }

    /// One look. Gives the time until the next one.
    async fn look(&self, memory: &mut Memory) -> Result<Duration, StoreError> {
        self.renew(memory).await?;
        self.finish_giving_back().await?;
        let now = fleet_clock::boot_now();
        let wall = fleet_clock::wall_now();
        let notice = self.notice(memory);
        let announced = memory.announced.as_ref();
        let due = announced
            .is_none_or(|(at, broker)| now.saturating_sub(*at) >= self.lease / 3 || *broker != notice.broker);
        let replicas = if due {
            let replicas = self
                .within(self.store.announce_replica(&notice, wall, self.lease))
                .await?;
            memory.announced = Some((now, notice.broker));
            replicas
        } else {
            self.within(self.store.replicas(wall)).await?
        };
        self.judge_brokers(&replicas, memory);
        let leases = self.within(self.store.slot_leases()).await?;
        self.keep_view(&leases, &replicas, memory);
        let mine = self.slots.owned();
        let free = self.free(&leases);
        let Plan { give_back, claim } = plan(&View {
            sharers: self.sharers(&replicas, memory),
            mine: &mine,
            free: &free,
        });
        for slot in &give_back {
            self.slots.give_back(*slot);
        }
        if !give_back.is_empty() {
            tracing::info!(slots = ?texts(&give_back), "slots are given back to be shared");
        }
        self.claim(&free, &leases, claim, memory).await?;
        Ok(self.next_look(&leases))
    }

    /// A call of the store that does not outlast the leases.
    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let most = self.lease / 2;
        tokio::time::timeout(most, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(
                format!("no answer within {} s", most.as_secs_f64()).into(),
            ))
        })
    }

    /// Prolongs the leases when a third of them is over. What could not be prolonged in time is lost.
    async fn renew(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let terms = self.slots.terms();
        let now = fleet_clock::boot_now();
        if terms.is_empty() {
            self.health.set_leases(None);
            memory.renewed = now;
            return Ok(());
        }
        if now.saturating_sub(memory.renewed) < self.lease / 3 {
            return Ok(());
        }
        let renewed = self
            .within(
                self.store
                    .renew_slots(&terms, fleet_clock::wall_now(), self.lease),
            )
            .await;
        self.health.set_leases(renewed.as_ref().err());
        match renewed {
            Ok(lost) => {
                memory.renewed = now;
                let lost: Vec<SlotTerm> = terms
                    .into_iter()
                    .filter(|term| lost.contains(&term.slot))
                    .collect();
                if !lost.is_empty() {
                    self.slots.lose(&lost);
                }
                // After the lost ones are gone: what is left was renewed.
                self.slots.set_renewed(now);
                Ok(())
            }
            Err(error) => {
                // Whether they are still ours is not known any more.
                if fleet_clock::boot_now().saturating_sub(memory.renewed) >= self.lease {
                    self.slots.lose(&terms);
                }
                Err(error)
            }
        }
    }

    /// Releases the leases of slots whose session has ended in order.
    async fn finish_giving_back(&self) -> Result<(), StoreError> {
        let ended: Vec<SlotTerm> = self
            .slots
            .giving_back()
            .into_iter()
            .filter_map(|(term, ended)| ended.then_some(term))
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        self.within(self.store.release_slots(&ended)).await?;
        for term in ended {
            self.slots.free(term);
        }
        Ok(())
    }

    fn notice(&self, memory: &Memory) -> ReplicaNotice {
        let broker = &self.identity.broker;
        let broker = if memory.refused.is_some() {
            format!("{}{broker}", ABSENT[1])
        } else if self.reach.is_connected() {
            broker.clone()
        } else {
            format!("{}{broker}", ABSENT[0])
        };
        ReplicaNotice {
            owner: self.identity.owner.clone(),
            broker,
            http: self.identity.http.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots_ready: u32::try_from(self.slots.ready()).unwrap_or(u32::MAX),
        }
    }

    /// The broker of the replica that has run longest is the plant's. A younger one with another broker must own
    /// nothing: the messages of its slots would lie in sessions that nobody reads. It stays out until it is started
    /// again, also when the other one goes: that one may only be on its way back.
    fn judge_brokers(&self, replicas: &[ReplicaRow], memory: &mut Memory) {
        let present = |row: &&ReplicaRow| !ABSENT.iter().any(|prefix| row.broker.starts_with(prefix));
        let eldest = replicas
            .iter()
            .filter(present)
            .min_by(|a, b| (a.started_at, &a.owner).cmp(&(b.started_at, &b.owner)));
        let Some(eldest) = eldest else { return };
        if eldest.broker == self.identity.broker {
            memory.refused = None;
        } else if memory.refused.is_none() {
            tracing::error!(
                mine = self.identity.broker,
                theirs = eldest.broker,
                replica = eldest.owner,
                "another replica of this plant uses another broker: this one owns no slots"
            );
            memory.refused = Some(BrokerState::new(
                "refused",
                format!(
                    "replica {} uses broker {}, this one {}: replicas must use the same one, so this one owns no slots",
                    eldest.owner, eldest.broker, self.identity.broker
                ),
            ));
        }
    }

    /// Replicas that share the slots, this one among them; 0 when this one may own none.
    fn sharers(&self, replicas: &[ReplicaRow], memory: &Memory) -> usize {
        let away = self.reach.away_for().is_some_and(|away| away >= self.lease);
        if memory.refused.is_some() || away {
            return 0;
        }
        let others = replicas
            .iter()
            .filter(|row| row.owner != self.identity.owner && row.broker == self.identity.broker);
        1 + others.count()
    }

    /// Slots that nobody has, as the leases say.
    fn free(&self, leases: &[SlotLease]) -> Vec<Slot> {
        let now = fleet_clock::wall_now();
        let ours = |slot: Slot| self.slots.state(slot).is_none_or(|state| !state.is_free());
        let mut free: Vec<Slot> = leases
            .iter()
            .filter(|lease| {
                lease
                    .owner
                    .as_ref()
                    .is_none_or(|owner| *owner == self.identity.owner)
                    || lease.expires_at <= now
            })
            .map(|lease| lease.slot)
            .filter(|slot| !ours(*slot))
            .collect();
        // Two replicas that start together begin at different places.
        let shift = self.identity.owner.bytes().map(usize::from).sum::<usize>();
        if !free.is_empty() {
            let by = shift % free.len();
            free.rotate_left(by);
        }
        free
    }

    async fn claim(
        &self,
        free: &[Slot],
        leases: &[SlotLease],
        most: usize,
        memory: &mut Memory,
    ) -> Result<(), StoreError> {
        if most == 0 || !self.reach.is_connected() {
            return Ok(());
        }
        let asked = fleet_clock::boot_now();
        // All at once: one after the other, a slow database would leave the last of them unread for long.
        let claims = free.iter().take(most).map(|slot| {
            let (owner, now) = (&self.identity.owner, fleet_clock::wall_now());
            self.within(self.store.claim_slot(*slot, owner, now, self.lease))
        });
        let (claimed, failed): (Vec<_>, Vec<_>) = futures::future::join_all(claims)
            .await
            .into_iter()
            .partition(Result::is_ok);
        let terms: Vec<SlotTerm> = claimed.into_iter().flatten().flatten().collect();
        // Those that were claimed are begun with; the rest comes at the next look.
        if let (true, Some(Err(error))) = (terms.is_empty(), failed.into_iter().next()) {
            return Err(error);
        }
        if self.embedded {
            let first: Vec<SlotTerm> = terms
                .iter()
                .filter(|term| !memory.seen.contains(&term.slot))
                .copied()
                .collect();
            if !first.is_empty() {
                presence::nobody_is_connected(&*self.store, &first).await?;
            }
        }
        for term in &terms {
            let before = leases.iter().find(|lease| lease.slot == term.slot);
            let held = before.and_then(|lease| lease.owner.as_ref());
            let kind = match held {
                Some(owner) if *owner != self.identity.owner => HandOver::TakenOver,
                _ => HandOver::Claimed,
            };
            self.metrics.handed_over(kind);
            self.slots.own(*term, asked);
        }
        memory.seen.extend(terms.iter().map(|term| term.slot));
        if !terms.is_empty() {
            let slots: Vec<Slot> = terms.iter().map(|term| term.slot).collect();
            tracing::info!(slots = ?texts(&slots), "slots were claimed");
            memory.renewed = memory.renewed.min(asked);
        }
        Ok(())
    }

    fn keep_view(&self, leases: &[SlotLease], replicas: &[ReplicaRow], memory: &Memory) {
        let now = fleet_clock::wall_now();
        let is_other = |owner: &String| *owner != self.identity.owner;
        let others = leases
            .iter()
            .filter(|lease| lease.expires_at > now && lease.owner.as_ref().is_some_and(is_other))
            .count();
        let terms = self.slots.terms().len();
        self.slots.set_view(|view| {
            let complete = others + terms >= usize::from(Slot::COUNT);
            view.incomplete_since = match (complete, view.incomplete_since) {
                (true, _) => None,
                (false, since) => since.or_else(|| Some(fleet_clock::boot_now())),
            };
            view.others = others;
            view.replicas = replicas.len();
            view.refused.clone_from(&memory.refused);
        });
    }

    /// At once when the lease of another one runs out before the next regular look.
    fn next_look(&self, leases: &[SlotLease]) -> Duration {
        let now = fleet_clock::wall_now();
        let until = |lease: &SlotLease| {
            let owner = lease.owner.as_ref()?;
            if *owner == self.identity.owner {
                return None;
            }
            Duration::try_from(lease.expires_at.duration_since(now)).ok()
        };
        let regular = LOOK.min(self.lease / 3);
        leases
            .iter()
            .filter_map(until)
            .map(|left| left + Duration::from_millis(10))
            .min()
            .map_or(regular, |left| left.min(regular))
    }

    /// The orderly end: every slot is drained, then released, then this replica is withdrawn.
    async fn give_everything_back(self) {
        for slot in self.slots.owned() {
            self.slots.give_back(slot);
        }
        let end = tokio::time::Instant::now() + LEAVE_WITHIN;
        loop {
            let woken = self.slots.look.notified();
            if self.slots.giving_back().iter().all(|(_, ended)| *ended) {
                break;
            }
            if tokio::time::timeout_at(end, woken).await.is_err() {
                break;
            }
        }
        let terms = self.slots.terms();
        let released = tokio::time::timeout(GOODBYE_WITHIN, self.store.release_slots(&terms)).await;
        match released {
            Ok(Ok(())) => {
                for term in terms {
                    self.slots.free(term);
                }
            }
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "slots could not be given back; their leases run out"
            ),
            Err(_) => tracing::warn!("slots could not be given back in time; their leases run out"),
        }
        let withdrawn = self.store.withdraw_replica(&self.identity.owner);
        if !matches!(tokio::time::timeout(GOODBYE_WITHIN, withdrawn).await, Ok(Ok(()))) {
            tracing::warn!("the other replicas could not be told; they notice by themselves");
        }
    }
}

fn texts(slots: &[Slot]) -> Vec<String> {
    slots.iter().map(ToString::to_string).collect()
}
