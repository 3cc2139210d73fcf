//! Everything encrypted that is about to be needed, in the turns of one.
//!
//! | client                     |                     | server                                   |
//! |----------------------------|---------------------|------------------------------------------|
//! | uploads, one after the other | `-- */upload ->`  | works on each as it comes                |
//! | takes what they lead to    | `<- */reply --`     | and replies                              |
//!
//! So both work at the same time, and layers to come do not wait for a round trip each. Both parties ask for the same in the same order, a function of
//! public shapes. What is in stock already is not made. The parts: [`crate::linear`], [`crate::rows`], [`crate::kv_cache`].

use crate::{
    Client, Error, Server, Session,
    kv_cache::{self, KvCache},
    linear::{self, Weight, WeightShape},
    rows::{self, RowShape},
};

/// What is about to be needed, of a matrix or of its shape.
pub enum Need<'a, W> {
    /// Masks for rows of a matrix' input.
    Linear(&'a W, usize),
    /// Row triples, and how many to make beyond those.
    Rows(RowShape, usize, usize),
    /// Masks for queries of so many more positions.
    Positions(&'a mut KvCache, usize),
}

/// What both parties know of a matrix.
pub trait Matrix {
    /// Its public shape.
    fn shape(&self) -> &WeightShape;
}

impl Matrix for Weight {
    fn shape(&self) -> &WeightShape {
        &self.shape
    }
}

impl Matrix for WeightShape {
    fn shape(&self) -> &WeightShape {
        self
    }
}

impl<W: Matrix> Need<'_, W> {
    /// Whether it is not in stock.
    pub fn is_lacking(&self, s: &mut Session) -> bool {
        match self {
            Need::Linear(w, rows) => linear::lacking_rows(s, w.shape(), *rows) > 0,
            Need::Rows(shape, rows, _) => rows::lacking_rows(s, *shape, *rows) > 0,
            Need::Positions(cache, n) => cache.lacks(*n),
        }
    }

    /// Bytes that it takes in stock, about.
    pub fn bytes(&self, s: &Session) -> usize {
        let words = match self {
            Need::Linear(w, rows) => (rows + s.lookahead) * (w.shape().inner + w.shape().outer),
            Need::Rows(shape, rows, more) => 2 * (rows + more) * shape.width,
            Need::Positions(cache, n) => cache.words(n + s.lookahead),
        };
        8 * words
    }
}

/// The client's part.
///
/// # Errors
/// The peer's replies are malformed or missing.
pub async fn client(me: &mut Client, needs: Vec<Need<'_, WeightShape>>) -> Result<(), Error> {
    me.session.ch.meter.enter_offline();
    let made = ask_and_take(me, needs).await;
    me.session.ch.meter.leave();
    made
}

/// The server's part.
///
/// # Errors
/// The peer's uploads are malformed or missing.
pub async fn server(me: &mut Server, needs: Vec<Need<'_, Weight>>) -> Result<(), Error> {
    me.session.ch.meter.enter_offline();
    let made = answer(me, needs).await;
    me.session.ch.meter.leave();
    made
}

enum Asked<'a> {
    Linear(linear::Asked),
    Rows(rows::Asked),
    Positions(&'a mut KvCache, Box<kv_cache::Asked>),
}

/// Bytes of stock that are under way at most, but for a single need that is larger.
const UNDER_WAY: usize = 64 << 20;

async fn ask_and_take(me: &mut Client, needs: Vec<Need<'_, WeightShape>>) -> Result<(), Error> {
    let (mut asked, mut bytes) = (vec![], 0);
    for need in needs {
        bytes += need.bytes(&me.session);
        if bytes > UNDER_WAY {
            take(me, std::mem::take(&mut asked)).await?;
            bytes = need.bytes(&me.session);
        }
        match need {
            Need::Linear(w, rows) => asked.extend(linear::ask(me, w, rows)?.map(Asked::Linear)),
            Need::Rows(shape, n, more) => {
                asked.extend(rows::ask(me, shape, n, more)?.into_iter().map(Asked::Rows));
            }
            Need::Positions(cache, n) => {
                if let Some(of_cache) = kv_cache::ask(me, cache, n)? {
                    asked.push(Asked::Positions(cache, Box::new(of_cache)));
                }
            }
        }
    }
    take(me, asked).await
}

async fn take(me: &mut Client, asked: Vec<Asked<'_>>) -> Result<(), Error> {
    for asked in asked {
        match asked {
            Asked::Linear(asked) => asked.take(me).await?,
            Asked::Rows(asked) => asked.take(me).await?,
            Asked::Positions(cache, asked) => asked.take(me, cache).await?,
        }
    }
    Ok(())
}

async fn answer(me: &mut Server, needs: Vec<Need<'_, Weight>>) -> Result<(), Error> {
    for need in needs {
        match need {
            Need::Linear(w, rows) => linear::answer(me, w, rows).await?,
            Need::Rows(shape, n, more) => rows::answer(me, shape, n, more).await?,
            Need::Positions(cache, n) => kv_cache::answer(me, cache, n).await?,
        }
    }
    Ok(())
}
