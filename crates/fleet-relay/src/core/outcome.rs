//! What follows from an outcome.

use std::time::Duration;

use fleet_store::{Advanced, OutboxAdvance, OutboxCursor, OutboxRead, OutboxRow, RelayTerm};

use super::batch::{Batch, Highs};
use super::machine::{Asked, Core, HANGING, Lease, Next, PROBE, Phase};
use super::{KafkaFault, Look, Outcome, StoreFault, TopicsFound, Trouble, TroubleKind};
use crate::{KafkaCursor, RelayState, highs_digest};

impl Core {
    /// Takes the outcome of the last step.
    pub fn done(&mut self, outcome: Outcome, now: Duration) {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing | Asked::Alarm => {}
            Asked::Renew => self.renewed(&outcome, now),
            Asked::Measure => {
                self.next_measure(now);
                if let Outcome::Measured(lag) = outcome {
                    self.lag = Some(lag);
                }
            }
            Asked::Phase => match outcome {
                Outcome::Pending(trouble) => self.pending(trouble, now),
                Outcome::Kafka(KafkaFault::Retry(detail)) => {
                    let kind = TroubleKind::Silent;
                    self.pending(Some(Trouble { kind, detail }), now);
                }
                outcome => {
                    self.waiting_since = None;
                    match outcome {
                        Outcome::Kafka(fault) => self.kafka_fault(fault, now),
                        Outcome::Store(fault) => self.store_fault(&fault, now),
                        outcome => self.went_well(outcome, now),
                    }
                }
            },
        }
    }

    fn renewed(&mut self, outcome: &Outcome, now: Duration) {
        let next = now + self.settings.lease / 3;
        match outcome {
            Outcome::Renewed(true) => {
                if let Some(lease) = &mut self.lease {
                    lease.renew_at = next;
                }
            }
            Outcome::Renewed(false) => self.lost_lease(),
            // Not known: the term, and Kafka's fencing, keep two relays apart.
            _ => {
                if let Some(lease) = &mut self.lease {
                    lease.renew_at = now + Duration::from_secs(1);
                }
            }
        }
    }

    fn went_well(&mut self, outcome: Outcome, now: Duration) {
        match (self.phase.clone(), outcome) {
            (Phase::Claiming, Outcome::Claimed(claimed)) => self.claimed(claimed, now),
            (Phase::LookingUp, Outcome::LookedUp(look)) => self.looked_up(*look),
            (Phase::Connecting, Outcome::Done) => {
                self.connected = true;
                self.phase = Phase::CheckingTopics;
            }
            (Phase::CheckingTopics, Outcome::Topics(TopicsFound::Good)) => self.phase = Phase::Initialising,
            (Phase::CheckingTopics | Phase::Probing, Outcome::Topics(found)) => self.topics(found, now),
            (Phase::Initialising, Outcome::Done) => self.phase = Phase::ReadingCursor,
            (Phase::ReadingCursor, Outcome::Cursor(found)) => self.cursor_found(found, now),
            (Phase::Comparing, Outcome::Rows(OutboxRead::Rows(_))) => {
                self.phase = if self.cursor.seq > self.relayed.seq {
                    Phase::CatchingUp {
                        from: self.relayed,
                        already: Vec::new(),
                    }
                } else {
                    Phase::Fetching
                };
            }
            (
                Phase::Comparing | Phase::Fetching | Phase::CatchingUp { .. },
                Outcome::Rows(OutboxRead::CursorLost),
            )
            | (Phase::Advancing { .. } | Phase::Refusing { .. }, Outcome::Advanced(Advanced::CursorLost)) => {
                self.cursor_lost("this database does not have it", now);
            }
            (Phase::CatchingUp { already, .. }, Outcome::Rows(OutboxRead::Rows(rows))) => {
                self.catch_up(already, &rows);
            }
            (Phase::Fetching, Outcome::Rows(OutboxRead::Rows(rows))) => self.fetched(rows, now),
            (Phase::Refusing { .. }, Outcome::Advanced(Advanced::Done)) => self.phase = Phase::Fetching,
            (Phase::Beginning, Outcome::Done) => self.phase = Phase::Sending,
            (Phase::Sending, Outcome::Done) => self.phase = Phase::Draining,
            (Phase::Draining, Outcome::Done) => self.phase = Phase::Committing,
            (Phase::Committing, Outcome::Done) => self.committed(now),
            (Phase::Advancing { advance }, Outcome::Advanced(Advanced::Done)) => {
                self.relayed = advance.through;
                self.phase = Phase::Fetching;
                if self.stopping {
                    self.phase = Phase::Disconnecting { then: Next::End };
                }
            }
            (Phase::Advancing { .. } | Phase::Refusing { .. }, Outcome::Advanced(Advanced::TermLost)) => {
                self.lost_lease();
            }
            (Phase::Reporting { detail, .. }, Outcome::Generation(generation)) => {
                self.say(RelayState::CursorLost, detail);
                self.generation = generation;
                self.reported = Some((self.cursor, generation));
                self.park(now);
            }
            (Phase::Aborting { then }, Outcome::Done) => self.aborted(then),
            (Phase::Disconnecting { then }, Outcome::Done) => self.put_away(then, now),
            (Phase::Releasing { then }, Outcome::Done) => self.without_lease(&then, now),
            (phase, outcome) => {
                // A shell that answers another question than was asked: begin anew.
                self.say(
                    RelayState::Failing,
                    format!("{outcome:?} does not answer {phase:?}"),
                );
                self.phase = Phase::Disconnecting { then: Next::Restart };
            }
        }
    }

    fn claimed(&mut self, claimed: Option<RelayTerm>, now: Duration) {
        let Some(term) = claimed else {
            self.phase = Phase::Standby {
                until: now + self.settings.lease / 3,
            };
            // Another replica relays, or looks at what made this one stand still: until it had the time to find
            // the same, what is known counts.
            let known = self
                .parked_since
                .is_some_and(|since| now.saturating_sub(since) < self.settings.lease * 3);
            if !known {
                self.parked_since = None;
                self.alarmed = None;
                self.say(RelayState::Standby, "another replica relays".to_owned());
            }
            return;
        };
        self.lease = Some(Lease {
            term,
            renew_at: now + self.settings.lease / 3,
        });
        if self.state == RelayState::Standby {
            self.say(RelayState::Starting, "it has taken the lease".to_owned());
        }
        self.phase = Phase::LookingUp;
    }

    fn looked_up(&mut self, look: Look) {
        self.relayed = look.row.relayed;
        self.generation = look.generation;
        self.highs_digest = highs_digest(&look.highs);
        self.highs = Highs::of(look.highs);
        self.phase = Phase::Connecting;
    }

    fn topics(&mut self, found: TopicsFound, now: Duration) {
        let (state, detail) = match found {
            TopicsFound::Good => {
                self.probe_at = now + PROBE;
                self.well();
                self.phase = Phase::Idle { until: now };
                return;
            }
            TopicsFound::Missing(names) => (
                RelayState::TopicMissing,
                format!("Kafka has no topic {}", names.join(", ")),
            ),
            TopicsFound::Partitions { topic, found, wanted } => (
                RelayState::PartitionsDiffer,
                format!("topic {topic} has {found} partitions, not {wanted}"),
            ),
            TopicsFound::NotCompacted { topic, policy } => (
                RelayState::Failing,
                format!("topic {topic} has cleanup.policy={policy}, it must be compact: see docs/kafka.md"),
            ),
        };
        self.say(state, detail);
        self.park(now);
    }

    fn cursor_found(&mut self, found: Option<KafkaCursor>, now: Duration) {
        self.cursor = found.as_ref().map_or(OutboxCursor::START, KafkaCursor::place);
        self.cursor_generation = found
            .as_ref()
            .map_or(self.generation, |found| found.store_generation);
        if self.relayed.seq > self.cursor.seq {
            let kafka = match found {
                Some(found) => format!("Kafka's cursor stands at {}", found.seq),
                None => "Kafka has no cursor".to_owned(),
            };
            let detail = format!("{kafka}, but {} was relayed already", self.relayed.seq);
            self.say(RelayState::LostData, detail);
            self.park(now);
            return;
        }
        if found.and_then(|found| found.highs) != self.highs_digest {
            self.cursor_lost("this database knows something else to be in Kafka already", now);
            return;
        }
        self.phase = Phase::Comparing;
    }

    fn cursor_lost(&mut self, why: &str, now: Duration) {
        let detail = format!(
            "Kafka's cursor stands at row {} of database life {}: {why}",
            self.cursor.seq, self.cursor_generation
        );
        // Once for each life of the database: a look every few seconds is no new alarm.
        if self.reported == Some((self.cursor, self.generation)) {
            self.say(RelayState::CursorLost, detail);
            self.park(now);
            return;
        }
        self.phase = Phase::Reporting {
            detail,
            generation: self.cursor_generation,
        };
    }

    /// Only a person can help: the lease is given back, so that a reconciliation can have it.
    fn park(&mut self, now: Duration) {
        self.parked_since = Some(now);
        self.phase = Phase::Disconnecting { then: Next::Standby };
    }

    /// One statement, whose place is Kafka's cursor itself: only with its token is it sure that the rows that were
    /// read here are those of the transaction.
    fn catch_up(&mut self, mut already: Vec<u64>, rows: &[OutboxRow]) {
        let Some(term) = self.lease.map(|lease| lease.term) else {
            return;
        };
        let committed = rows.iter().take_while(|row| row.seq <= self.cursor.seq);
        already.extend(committed.filter(|row| self.highs.has(row)).map(|row| row.seq));
        self.phase = match rows.last() {
            Some(last) if last.seq < self.cursor.seq => Phase::CatchingUp {
                from: OutboxCursor::behind(last),
                already,
            },
            _ => Phase::Advancing {
                advance: OutboxAdvance {
                    term,
                    through: self.cursor,
                    already,
                },
            },
        };
    }

    fn fetched(&mut self, rows: Vec<OutboxRow>, now: Duration) {
        if rows.is_empty() {
            self.well();
            self.phase = Phase::Idle {
                until: now + self.settings.poll,
            };
            return;
        }
        self.batch = Batch::of(rows, self.settings.batch_bytes, &self.highs);
        self.phase = match self.batch.misdirected() {
            Some(row) => Phase::Refusing {
                row: OutboxCursor::behind(row),
                code: "unknown_topic",
                reason: format!("topic {:?} is none that the relay writes", row.topic),
            },
            None => Phase::Beginning,
        };
    }

    fn committed(&mut self, now: Duration) {
        let (Some(through), Some(lease)) = (self.batch.through(), self.lease) else {
            self.phase = Phase::Fetching;
            return;
        };
        self.cursor = through;
        self.cursor_generation = self.generation;
        self.probe_at = now + PROBE;
        self.well();
        self.limit = if self.batch.was_cut() {
            u32::try_from(self.batch.records().len()).unwrap_or(u32::MAX)
        } else {
            self.limit.saturating_mul(2)
        };
        self.limit = self.limit.clamp(1, self.settings.batch_rows.max(1));
        self.phase = Phase::Advancing {
            advance: OutboxAdvance {
                term: lease.term,
                through,
                already: self.batch.already().to_vec(),
            },
        };
    }

    fn aborted(&mut self, then: Next) {
        self.phase = match then {
            Next::Fetch => Phase::Fetching,
            Next::Refuse { row, code, reason } => Phase::Refusing { row, code, reason },
            then => Phase::Disconnecting { then },
        };
    }

    fn well(&mut self) {
        self.pace.succeeded();
        if self.state != RelayState::Ok {
            self.say(RelayState::Ok, "it relays".to_owned());
        }
    }

    fn lost_lease(&mut self) {
        self.lease = None;
        let then = if self.stopping { Next::End } else { Next::Standby };
        self.phase = match self.phase {
            // The next relay ends the transaction; until then it holds readers back.
            Phase::Sending | Phase::Draining => Phase::Aborting { then },
            _ => Phase::Disconnecting { then },
        };
        self.say(
            RelayState::Standby,
            "another replica has taken the lease".to_owned(),
        );
    }

    /// Kafka has not answered yet.
    fn pending(&mut self, trouble: Option<Trouble>, now: Duration) {
        let waited = now.saturating_sub(*self.waiting_since.get_or_insert(now));
        match trouble {
            Some(Trouble {
                kind: TroubleKind::Unreachable,
                detail,
            }) => {
                self.say(
                    RelayState::Unreachable,
                    format!("no connection to Kafka: {detail}"),
                );
            }
            Some(Trouble {
                kind: TroubleKind::Refused,
                detail,
            }) => {
                self.say(RelayState::Refused, format!("Kafka refuses the relay: {detail}"));
            }
            silent if waited >= HANGING => {
                let said = silent
                    .map(|trouble| format!(": {}", trouble.detail))
                    .unwrap_or_default();
                self.say(
                    RelayState::Hanging,
                    format!("Kafka has not answered for {} s{said}", waited.as_secs()),
                );
            }
            _ => {}
        }
        let patience = match self.phase {
            Phase::Committing => self.settings.transaction_timeout * 2,
            Phase::Aborting { .. } => HANGING,
            _ => self.settings.transaction_timeout,
        };
        let stopping = self.stopping && waited >= Duration::from_secs(3);
        if waited >= patience || stopping {
            self.waiting_since = None;
            let then = match &self.phase {
                Phase::Aborting {
                    then: then @ (Next::Standby | Next::End),
                } => then.clone(),
                _ if self.stopping => Next::End,
                _ => Next::Restart,
            };
            self.phase = Phase::Disconnecting { then };
        }
    }

    fn kafka_fault(&mut self, fault: KafkaFault, now: Duration) {
        if let Phase::Aborting { then } = &self.phase {
            // Fenced, timed out: the transaction has its end all the same.
            let then = match then {
                Next::Standby | Next::End => then.clone(),
                _ => Next::Restart,
            };
            self.phase = Phase::Disconnecting { then };
            return;
        }
        match fault {
            KafkaFault::Retry(_) => {}
            KafkaFault::Data { code, reason } => self.data_fault(code, reason),
            KafkaFault::Refused(detail) => {
                self.say(RelayState::Refused, format!("Kafka refuses the relay: {detail}"));
                self.phase = Phase::Disconnecting { then: Next::Restart };
            }
            KafkaFault::Abort(detail) => {
                self.say(
                    RelayState::Failing,
                    format!("Kafka aborts the transaction: {detail}"),
                );
                self.phase = match self.phase {
                    Phase::Sending | Phase::Draining => Phase::Aborting { then: Next::Fetch },
                    // Whether it was committed is for a new producer to find out.
                    Phase::Committing => Phase::Aborting { then: Next::Restart },
                    _ => Phase::Disconnecting { then: Next::Restart },
                };
            }
            KafkaFault::Topic(detail) => {
                self.say(RelayState::Failing, detail);
                self.phase = Phase::Disconnecting { then: Next::Restart };
            }
            KafkaFault::BadCursor(detail) => {
                self.say(RelayState::Failing, detail);
                self.park(now);
            }
            KafkaFault::Fatal(detail) => {
                self.say(RelayState::Failing, format!("the producer ends: {detail}"));
                self.phase = Phase::Disconnecting { then: Next::Restart };
                // Fenced by another relay, perhaps: is the lease still there?
                if let Some(lease) = &mut self.lease {
                    lease.renew_at = now;
                }
            }
        }
    }

    /// Kafka will not take a record of this transaction. With several in it: fewer, until it stands alone.
    fn data_fault(&mut self, code: &'static str, reason: String) {
        let then = match self.batch.records() {
            [row] => Next::Refuse {
                row: OutboxCursor::behind(row),
                code,
                reason,
            },
            rows => {
                self.limit = u32::try_from(rows.len() / 2).unwrap_or(1).max(1);
                // After a doubtful commit only a new producer knows the place.
                if self.phase == Phase::Committing {
                    Next::Restart
                } else {
                    Next::Fetch
                }
            }
        };
        self.phase = match self.phase {
            Phase::Sending | Phase::Draining | Phase::Committing => Phase::Aborting { then },
            _ => Phase::Disconnecting { then: Next::Restart },
        };
    }

    fn store_fault(&mut self, fault: &StoreFault, now: Duration) {
        if fault.term_lost {
            self.lost_lease();
            return;
        }
        let until = now + self.pace.failed();
        self.phase = match self.phase.clone() {
            Phase::Claiming => Phase::Standby { until },
            // It expires by itself.
            Phase::Releasing { then } => {
                self.without_lease(&then, now);
                return;
            }
            _ if self.stopping => Phase::Disconnecting { then: Next::End },
            then => Phase::BackingOff {
                until,
                then: Box::new(then),
            },
        };
        // Without the lease the database's own state says it; nothing is known of Kafka.
        let keep = matches!(
            self.state,
            RelayState::CursorLost | RelayState::LostData | RelayState::Starting | RelayState::Standby
        );
        if !keep {
            self.say(
                RelayState::Failing,
                format!("the database can't be used: {}", fault.detail),
            );
        }
    }
}
