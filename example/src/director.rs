//! Has steps carried out, and watches each until its effect can be told. One is under way at a time; a new one ends the watch of the last.

use crate::effect::{Doing, Outcome, judge};
use crate::ledger::Traffic;
use crate::look::{self, Look};
use crate::script::{PLACES, Step};
use crate::stage::{Answer, Stage};
use crate::traffic;
use crate::world::Addresses;
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;

/// A step whose effect is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub at: Duration,
    /// What was done.
    pub done: String,
    pub effect: String,
}

/// See the module.
pub struct Director {
    pub addresses: Addresses,
    pub begun: Instant,
    pub told: Vec<Told>,
    /// Of all steps.
    pub lost: usize,
    /// What was done to the lines of each place and isn't healed.
    pub cuts: [Option<&'static str>; PLACES],
    stage: Stage,
    look: look::Shared,
    ledger: traffic::Shared,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    doing: Doing,
    words: String,
    answer: Option<Answer>,
    counting: Option<(Outcome, JoinHandle<Result<usize, String>>)>,
}

impl Director {
    /// Begins to look and to write.
    ///
    /// # Errors
    /// When the clients can't begin.
    pub async fn new(stage: Stage, addresses: Addresses) -> Result<Self> {
        let begun = Instant::now();
        let ledger = traffic::begin(&addresses, begun).await?;
        let look = look::begin(&addresses, begun)?;
        Ok(Self {
            addresses,
            begun,
            told: Vec::new(),
            lost: 0,
            cuts: [None; PLACES],
            stage,
            look,
            ledger,
            under_way: None,
        })
    }

    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn look(&self) -> Look {
        self.look.lock().expect("nobody panics with it").clone()
    }

    pub fn traffic(&self) -> Traffic {
        self.ledger.lock().expect("nobody panics with it").traffic(self.now())
    }

    /// What is under way, in words, and since when.
    pub fn under_way(&self) -> Option<(String, Duration)> {
        self.under_way.as_ref().map(|under_way| (under_way.words.clone(), under_way.doing.at))
    }

    /// Has a step carried out.
    pub fn begin(&mut self, step: Step) {
        if let Some(last) = self.under_way.take() {
            let effect = "something else was done before its effect was known".to_owned();
            self.told.push(Told { at: last.doing.at, done: last.words, effect });
        }
        let look = self.look();
        let (primary, epoch) = (look.primary(), look.lease().map_or(0, |lease| lease.epoch));
        note_cuts(&mut self.cuts, step, primary);
        let at = self.now();
        self.ledger.lock().expect("nobody panics with it").begin(at);
        let answer = Some(self.stage.carry_out(step, primary));
        let doing = Doing { step, at, primary, epoch, done: None };
        self.under_way = Some(UnderWay { doing, words: step.words(primary), answer, counting: None });
    }

    /// Looks how far it is. To be called some times a second.
    pub async fn watch(&mut self) {
        let Some(mut under_way) = self.under_way.take() else { return };
        let (now, look, traffic) = (self.now(), self.look(), self.traffic());
        under_way.listen(now);
        match under_way.counting.take() {
            Some((outcome, counting)) if counting.is_finished() => {
                let lost = counting.await.unwrap_or_else(|error| Err(error.to_string()));
                self.lost += lost.as_ref().copied().unwrap_or(0);
                let (at, done) = (under_way.doing.at, under_way.words);
                return self.told.push(Told { at, done, effect: outcome.words(&lost) });
            }
            Some(counting) => under_way.counting = Some(counting),
            None => {
                let outcome = judge(&under_way.doing, now, &look, &traffic);
                under_way.counting = outcome.map(|outcome| {
                    let counting = self.count(outcome.writer());
                    (outcome, counting)
                });
            }
        }
        self.under_way = Some(under_way);
    }

    /// Looks in that place for everything that was acknowledged.
    pub fn count(&self, place: Option<usize>) -> JoinHandle<Result<usize, String>> {
        let address = place.map(|place| self.addresses.hosts[place].address().to_owned());
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            let address = address.ok_or("there is no primary")?;
            traffic::lost(ledger, address).await.map_err(|error| format!("{error:#}"))
        })
    }
}

fn note_cuts(cuts: &mut [Option<&'static str>; PLACES], step: Step, primary: Option<usize>) {
    let (place, cut) = match step {
        Step::CutOff(place) => (place.or(primary), Some("cut off")),
        Step::OneWay(place) => (place.or(primary), Some("isn't heard")),
        Step::Heal(Some(place)) => (Some(place), None),
        Step::Heal(None) | Step::Repair => return *cuts = [None; PLACES],
        _ => return,
    };
    if let Some(found) = place.and_then(|place| cuts.get_mut(place)) {
        *found = cut;
    }
}

impl UnderWay {
    fn listen(&mut self, now: Duration) {
        let Some(answer) = &mut self.answer else { return };
        self.doing.done = Some(match answer.try_recv() {
            Ok(Ok(_)) => Ok(now),
            Ok(Err(why)) => Err(why),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Closed) => Err("nobody is there any more who could do it".into()),
        });
        self.answer = None;
    }
}
