//! The trace context in its W3C text form (`traceparent`, version 00), in and out.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span, for a message or a row that another process will read.
///
/// `None` outside of a span, or before [`crate::init`].
pub fn current_traceparent() -> Option<String> {
    traceparent(&Span::current())
}

/// The `traceparent` of a span. From here on its parent is fixed: call [`set_parent`] before.
pub fn traceparent(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the span that `traceparent` names.
///
/// To be called before the span is entered. What is no valid `traceparent` is ignored, as the W3C
/// recommendation asks: a broken header of another program must not cost the work that it came with.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract(&carrier);
    if parent.span().span_context().is_valid() && span.set_parent(parent).is_err() {
        tracing::debug!("a span without a trace, or one that has begun, takes no parent");
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn traced<T>(body: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body)
    }

    #[test]
    fn a_span_continues_the_trace_that_it_is_given() {
        traced(|| {
            let span = tracing::info_span!("agent.run_job");
            set_parent(&span, PARENT);
            let own = span.in_scope(current_traceparent).expect("inside of a span");
            assert!(
                own.starts_with(&format!("00-{TRACE}-")) && own.ends_with("-01"),
                "{own}"
            );
            assert!(
                !own.contains("00f067aa0ba902b7"),
                "it has an identifier of its own"
            );
            let child = span.in_scope(|| traceparent(&tracing::info_span!("procedure.run_step")));
            assert!(child.is_some_and(|child| child.contains(TRACE) && child != own));
        });
    }

    #[test]
    fn a_broken_traceparent_starts_a_trace_of_its_own() {
        for broken in [
            "",
            "00",
            "no trace",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-\u{fffd}\u{fffd}-\u{0}-01",
        ] {
            traced(|| {
                let span = tracing::info_span!("ingest.store_event");
                set_parent(&span, broken);
                let own = traceparent(&span).expect("a trace of its own");
                assert!(!own.contains(TRACE), "{broken:?} was taken");
            });
        }
    }

    #[test]
    fn outside_of_a_span_there_is_no_traceparent() {
        assert_eq!(traced(current_traceparent), None);
        assert_eq!(current_traceparent(), None, "and none without a subscriber");
    }
}
