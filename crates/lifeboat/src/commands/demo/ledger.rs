//! Customers of the demo: they place orders all the time and remember exactly what the database acknowledged.

use crate::failure::Failure;
use lifeboat_postgres::connection::Target;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// When an order was sent and when it was acknowledged, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub sent_ns: i128,
    pub acknowledged_ns: Option<i128>,
}

/// Customers at work.
pub struct Customers {
    orders: Arc<Mutex<BTreeMap<i64, Order>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Now, in the unit of the ledger.
pub fn now_ns() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

impl Customers {
    /// `count` customers begin to order, numbering from `first`. They stop when told, or when the server is gone.
    pub async fn send(server: &Target, count: usize, first: i64) -> Result<Self, Failure> {
        let next = Arc::new(AtomicI64::new(first));
        let orders: Arc<Mutex<BTreeMap<i64, Order>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..count {
            let client = server.connect().await?;
            let (next, orders, stop) = (next.clone(), orders.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let set = |order| orders.lock().unwrap_or_else(PoisonError::into_inner).insert(id, order);
                    let sent_ns = now_ns();
                    set(Order { sent_ns, acknowledged_ns: None });
                    let text =
                        "insert into orders (id, customer, amount) values ($1, 'customer ' || $1::bigint % 997, 1)";
                    if client.execute(text, &[&id]).await.is_err() {
                        return;
                    }
                    set(Order { sent_ns, acknowledged_ns: Some(now_ns()) });
                }
            }));
        }
        Ok(Self { orders, stop, tasks })
    }

    /// Number of orders acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.values().filter(|order| order.acknowledged_ns.is_some()).count()
    }

    /// They stop; the ledger is theirs to give.
    pub async fn stop(self) -> BTreeMap<i64, Order> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // A customer whose server died has nothing more to say.
            let _ = task.await;
        }
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
