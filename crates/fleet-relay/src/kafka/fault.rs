//! What an error of librdkafka means to the relay.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::watch::Watch;
use crate::core::{KafkaFault, Outcome, Trouble, TroubleKind};

fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

fn is_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition
    )
}

fn data_code(code: Code) -> Option<&'static str> {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Some("too_large")
        }
        Code::InvalidRecord => Some("invalid_record"),
        Code::InvalidTimestamp => Some("invalid_timestamp"),
        _ => None,
    }
}

fn by_code(code: Code, text: String) -> Option<KafkaFault> {
    if is_refusal(code) {
        return Some(KafkaFault::Refused(text));
    }
    if is_topic(code) {
        return Some(KafkaFault::Topic(text));
    }
    data_code(code).map(|code| KafkaFault::Data { code, reason: text })
}

/// Of a call of the transactional interface, or of a question for metadata.
pub(super) fn outcome(error: &KafkaError, watch: &Watch) -> Outcome {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let text = error.to_string();
    if let KafkaError::Transaction(said) = error {
        let text = format!("{} ({code:?})", said.string());
        if said.is_fatal() || code == Code::State {
            return Outcome::Kafka(KafkaFault::Fatal(text));
        }
        if let Some(fault) = by_code(code, text.clone()) {
            return Outcome::Kafka(fault);
        }
        if said.txn_requires_abort() {
            // A record that failed says more than that the transaction did.
            let cause = watch
                .failed()
                .filter(|cause| matches!(cause, KafkaFault::Data { .. }));
            return Outcome::Kafka(cause.unwrap_or(KafkaFault::Abort(text)));
        }
        return if said.is_retriable() {
            Outcome::Pending(watch.trouble())
        } else {
            Outcome::Kafka(KafkaFault::Fatal(text))
        };
    }
    match by_code(code, text.clone()) {
        Some(fault) => Outcome::Kafka(fault),
        None if is_passing(code) => Outcome::Pending(watch.trouble()),
        None => Outcome::Kafka(KafkaFault::Fatal(text)),
    }
}

fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::OffsetNotAvailable
            | Code::WaitCache
            | Code::TimedOutQueue
    )
}

/// Of a record that could not be given to the producer.
pub(super) fn of_send(error: &KafkaError) -> Outcome {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let text = error.to_string();
    Outcome::Kafka(match by_code(code, text.clone()) {
        Some(fault) => fault,
        None if code == Code::QueueFull => KafkaFault::Abort(text),
        None => KafkaFault::Fatal(text),
    })
}

/// Of a record that was not acknowledged.
pub(super) fn of_delivery(error: &KafkaError) -> KafkaFault {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let text = error.to_string();
    match by_code(code, text.clone()) {
        Some(fault) => fault,
        None if matches!(
            code,
            Code::Fatal | Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
        ) =>
        {
            KafkaFault::Fatal(text)
        }
        None => KafkaFault::Abort(text),
    }
}

/// Of an error that the client reports by itself. `None`: nothing that a call waits for.
pub(super) fn trouble(code: Code, reason: &str) -> Option<Trouble> {
    let kind = match code {
        code if is_refusal(code) => TroubleKind::Refused,
        Code::OperationTimedOut => TroubleKind::Silent,
        // The code is the same for a refused connection and for one on which nothing is answered.
        Code::BrokerTransportFailure if reason.contains("timed out") => TroubleKind::Silent,
        Code::BrokerTransportFailure | Code::Resolve | Code::AllBrokersDown => TroubleKind::Unreachable,
        _ => return None,
    };
    Some(Trouble {
        kind,
        detail: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_broker_is_told_from_one_that_is_gone() {
        let kind = |code, reason| trouble(code, reason).map(|trouble| trouble.kind);
        assert_eq!(
            kind(
                Code::BrokerTransportFailure,
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"
            ),
            Some(TroubleKind::Unreachable)
        );
        assert_eq!(
            kind(
                Code::BrokerTransportFailure,
                "127.0.0.1:1/1: Connection setup timed out in state APIVERSION_QUERY"
            ),
            Some(TroubleKind::Silent)
        );
        assert_eq!(
            kind(Code::OperationTimedOut, "1 request(s) timed out: disconnect"),
            Some(TroubleKind::Silent)
        );
        assert_eq!(kind(Code::Authentication, "denied"), Some(TroubleKind::Refused));
        assert_eq!(kind(Code::UnknownTopic, ""), None);
    }
}
