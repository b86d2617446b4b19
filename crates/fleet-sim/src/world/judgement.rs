//! What must be true in the end.

use super::World;

impl World {
    pub(super) fn judge(&mut self) -> Result<(), String> {
        self.figures.events = self.truth.counted.len() as u64;
        self.figures.stored = self.database.stored.len() as u64;
        self.database.check(&self.truth.begun)?;
        for (key, stored) in &self.database.stored {
            if !self
                .truth
                .tried
                .get(key)
                .is_some_and(|tried| tried.contains(&stored.marker))
            {
                return Err(format!(
                    "{key:?} holds {} which was never written there",
                    stored.marker
                ));
            }
        }
        let may_expire = self.plan.keep_receipted < self.plan.disturbed && self.figures.database_restores > 0;
        for (key, marker) in &self.truth.counted {
            let stored = self
                .database
                .stored
                .get(key)
                .is_some_and(|stored| stored.marker == *marker);
            let refused = self.database.rejected.contains(key) && self.truth.refused.contains(marker);
            let expired = may_expire && self.database.in_hole(*key);
            if !(stored || refused || expired || self.truth.forgiven.contains(key)) {
                let hole = self.database.in_hole(*key);
                return Err(format!(
                    "{key:?} (event {marker}) counted and is lost; in a hole: {hole}"
                ));
            }
        }
        if self.figures.unattributed > self.figures.stripped {
            return Err("more events were given up as unattributed than lost their properties".to_owned());
        }
        let sent = self.truth.counted.len() as u64;
        if self.plan.quiet && self.figures.published > sent {
            return Err(format!(
                "{} publishes for {sent} events without a fault",
                self.figures.published
            ));
        }
        Ok(())
    }
}
