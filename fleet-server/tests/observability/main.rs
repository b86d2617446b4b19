//! What is seen of a server from outside: its metrics, the dashboard, the alert rules, the runbook that they lead
//! to, and what is deployed with it. Prometheus and Mosquitto are real ones.

mod compose;
mod promql;
mod queries;
mod rules;
mod runbook;
mod support;
mod table;
