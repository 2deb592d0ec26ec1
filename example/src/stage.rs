//! The thread that has the world: makes it, does to it what is ordered, one after the other, and takes it away at the end.
//!
//! One thread for all of its life, because the proxy ends with the thread that started it.

use crate::script::Step;
use crate::world::{Addresses, Told, World};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

pub type Answer = oneshot::Receiver<Result<String, String>>;

struct Order {
    step: Step,
    primary: Option<usize>,
    answer: oneshot::Sender<Result<String, String>>,
}

/// See the module. On drop everything of the world goes, before the drop is done.
pub struct Stage {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Begins to make the world; its addresses come when it is there. `told` is asked before each part whether to go on.
    pub fn begin(
        major: u16,
        program: PathBuf,
        told: impl Fn(&str) -> Result<()> + Send + 'static,
    ) -> Result<(Self, oneshot::Receiver<Result<Addresses>>)> {
        let (orders, ordered) = mpsc::channel::<Order>();
        let (made, addresses) = oneshot::channel();
        let run = move || {
            let told: Told<'_> = &told;
            let mut world = match World::new(major, &program, told) {
                Ok(world) => world,
                Err(error) => return drop(made.send(Err(error))),
            };
            // Nobody waits any more when it isn't taken.
            let _ = made.send(Ok(world.addresses()));
            for Order { step, primary, answer } in ordered {
                let done = world.carry_out(step, primary).map_err(|error| format!("{error:#}"));
                let _ = answer.send(done);
            }
        };
        let thread = std::thread::Builder::new().name("stage".into()).spawn(run).context("start a thread")?;
        Ok((Self { orders: Some(orders), thread: Some(thread) }, addresses))
    }

    /// Orders a step. The answer comes when it is carried out.
    pub fn carry_out(&self, step: Step, primary: Option<usize>) -> Answer {
        let (answer, answered) = oneshot::channel();
        if let Some(orders) = &self.orders {
            // If the thread is gone, so is the answer's other end, and that is seen.
            let _ = orders.send(Order { step, primary, answer });
        }
        answered
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
