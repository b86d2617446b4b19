//! Carries out what the uplink says, and takes what the link brings.

use std::collections::VecDeque;

use agent_core::{Append, Event};
use agent_link::{AlarmKind, LinkEffect, LinkEvent, LinkInput};
use fleet_domain::{SpoolId, Vin, error_chain};
use fleet_wire::EventBody;

use super::Owner;
use super::core::fresh_event_id;

impl Owner {
    pub(crate) fn take_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                connection,
                connect_counter,
                receive_maximum,
                maximum_packet_size,
                session_present,
            } => {
                tracing::info!(
                    connection,
                    connect_counter,
                    session_present,
                    "connected to the broker"
                );
                self.connected = true;
                self.disconnected_because = None;
                self.uplink(LinkInput::Connected {
                    connection,
                    receive_maximum,
                    maximum_packet_size,
                });
                self.look_at_room();
                self.decide(Event::Connected { connect_counter });
            }
            LinkEvent::Down {
                connection,
                reason,
                taken_over,
            } => {
                if taken_over {
                    tracing::error!(
                        reason,
                        device = %self.config.device,
                        "another agent connects with this bench's name: stop one of the two, or set device"
                    );
                } else if self.connected {
                    tracing::info!(reason, "not connected to the broker");
                } else {
                    tracing::debug!(reason, "could not connect to the broker");
                }
                self.connected = false;
                self.disconnected_because = Some(reason);
                self.uplink(LinkInput::Disconnected { connection });
                self.decide(Event::Disconnected);
            }
            LinkEvent::PubAck {
                connection,
                position,
                reason,
            } => {
                crate::failpoints::after_puback();
                self.uplink(LinkInput::PubAck {
                    connection,
                    position,
                    reason,
                });
            }
            LinkEvent::Receipt(receipt) => self.uplink(LinkInput::Receipt(receipt)),
            LinkEvent::SyncAnswer(answer) => {
                let number = answer.number;
                self.uplink(LinkInput::SyncAnswer(answer));
                // After what the answer brought. Only the last one's is obeyed.
                if self.sync_sent == Some(number) {
                    self.decide(Event::SyncAnswered { number });
                }
            }
            LinkEvent::Commands(list) => {
                tracing::debug!(
                    version = list.desired_version,
                    jobs = list.jobs.len(),
                    "a list of jobs"
                );
                self.look_at_room();
                self.decide(Event::Commands(list));
            }
            LinkEvent::Undecodable { channel, error } => {
                tracing::warn!(
                    channel = channel.as_str(),
                    error = error_chain(&error),
                    "a document was dropped"
                );
            }
        }
    }

    /// Gives an input to the uplink and does what it says.
    pub(crate) fn uplink(&mut self, input: LinkInput) {
        let (now, wall) = (fleet_clock::boot_now(), fleet_clock::wall_now());
        let effects = tokio::task::block_in_place(|| self.uplink.handle(input, now, wall));
        for effect in effects {
            match effect {
                LinkEffect::Publish {
                    connection,
                    position,
                    properties,
                    payload,
                } => self.link.publish_event(connection, position, properties, payload),
                LinkEffect::Reconnect { connection, reason } => {
                    tracing::info!(reason, "connecting again");
                    self.link.reconnect(connection);
                }
                LinkEffect::SealSpool { reason } => self.seal(reason),
                LinkEffect::GenerationChanged { from, to } => {
                    if from.is_some() {
                        tracing::warn!(generation = %to, "the server's database was restored");
                    }
                    self.decide(Event::GenerationChanged(to));
                }
                LinkEffect::BenchRestored => {
                    tracing::error!("this disk is older than what the server heard: open jobs are in doubt");
                    self.decide(Event::BenchRestored);
                }
                LinkEffect::SyncWanted => self.decide(Event::SyncWanted),
                LinkEffect::Alarm(alarm) => say(&alarm),
            }
        }
    }

    /// Begins a new spool: the server knows more of the one being written than this bench does.
    fn seal(&mut self, reason: &'static str) {
        tracing::error!(
            reason,
            "the spool is sealed and a new one begun: was this disk cloned or a snapshot resumed?"
        );
        let begun = tokio::task::block_in_place(|| self.uplink.begin(SpoolId(fleet_clock::new_uuid())));
        let mut events = VecDeque::new();
        match begun {
            Ok(()) => {
                let mut body = self.started.clone();
                "sealed".clone_into(&mut body.reason);
                // First of its spool: before what the disk still refuses.
                self.unwritten.push_front(Append {
                    id: fresh_event_id(),
                    vin: self.vin.clone(),
                    traceparent: None,
                    body: EventBody::AgentStarted(body),
                });
                self.write_again();
            }
            Err(error) => events.push_back(Event::SpoolFailed {
                detail: error_chain(&error),
            }),
        }
        for event in events {
            self.decide(event);
        }
    }

    /// Tells the server which vehicle stands here now: it gives jobs to the bench that has the vehicle.
    pub(crate) fn vehicle_answers(&mut self, vin: Vin) {
        tracing::info!(vehicle.vin = %vin, "a vehicle answers");
        self.started.equipment.vin = Some(vin.to_string());
        let mut body = self.started.clone();
        "equipment".clone_into(&mut body.reason);
        self.unwritten.push_back(Append {
            id: fresh_event_id(),
            vin: Some(vin.clone()),
            traceparent: None,
            body: EventBody::AgentStarted(body),
        });
        self.vin = Some(vin);
        self.write_again();
    }

    pub(crate) fn look_at_room(&mut self) {
        let mut events = VecDeque::new();
        self.look_at_room_later(&mut events);
        for event in events {
            self.decide(event);
        }
    }

    /// Asks how much room there is; what the core has to be told goes to `events`.
    pub(crate) fn look_at_room_later(&mut self, events: &mut VecDeque<Event>) {
        if self.waits_for_disk() {
            return;
        }
        let refusing = match tokio::task::block_in_place(|| self.uplink.room()) {
            Ok(room) => room.refusing,
            Err(error) => Some(error_chain(&error)),
        };
        if refusing != self.refusing {
            if let Some(reason) = &refusing {
                tracing::error!(reason, "no job is taken");
            }
            self.refusing.clone_from(&refusing);
        }
        events.push_back(Event::Room { refusing });
    }

    pub(crate) fn compact(&mut self) {
        let wall = fleet_clock::wall_now();
        if let Err(error) = tokio::task::block_in_place(|| self.uplink.compact(wall)) {
            tracing::warn!(error = error_chain(&error), "old events stay for now");
        }
    }
}

fn say(alarm: &AlarmKind) {
    match alarm {
        AlarmKind::Rejected { spool, seq, code } => {
            tracing::error!(%spool, seq, ?code, "the server refused an event for good");
        }
        AlarmKind::Hole {
            spool,
            from,
            to,
            reason,
        } => tracing::error!(%spool, from, to, %reason, "events are gone; a hole stands for them"),
        AlarmKind::ClonedSpool {
            spool,
            next_seq,
            through,
        } => tracing::error!(%spool, next_seq, through, "two agents wrote under one spool id"),
        AlarmKind::PublishRefused { spool, seq, reason } => {
            tracing::warn!(%spool, seq, reason, "the broker refused an event; it is tried again");
        }
        AlarmKind::Disk { error } => tracing::error!(error, "the spool's disk failed"),
    }
}
