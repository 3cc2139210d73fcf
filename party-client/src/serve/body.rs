//! Bodies of HTTP messages, whole and as streams.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body as _, Frame, Incoming, SizeHint},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use tokio::{sync::mpsc::Receiver, time::timeout};

use super::refusal::Refusal;

/// Bytes of a request at most: no context holds more text.
pub const REQUEST_LIMIT: usize = 4 << 20;
/// Bytes that are read of a longer one before it is refused.
const LET_PASS: usize = 16 << 20;
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// In pieces, as they come. Whoever sends them sees when nobody reads them any more.
    Stream(Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|p| Ok(Frame::data(p)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer of some type.
pub fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", Body::Whole(value.to_string().into()))
}

/// A request's body, if it is not too long and arrives in time.
///
/// # Errors
/// It is, or does not.
pub async fn read(incoming: Incoming) -> Result<Vec<u8>, Refusal> {
    let too_long = || {
        let message = format!("the request has more than {REQUEST_LIMIT} bytes, expected fewer; shorten it");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
            .code("request_too_large")
    };
    let whole = async {
        let (mut incoming, mut body, mut length) = (pin!(incoming), Vec::new(), 0);
        while let Some(frame) = poll_fn(|context| incoming.as_mut().poll_frame(context)).await {
            let frame =
                frame.map_err(|_| Refusal::mistake("the request breaks off in its body; send all of it"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > LET_PASS {
                break;
            }
            // Whoever is still writing does not read the answer: a little more is let pass.
            if length > REQUEST_LIMIT {
                body.clear();
            } else {
                body.extend_from_slice(&data);
            }
        }
        if length > REQUEST_LIMIT { Err(too_long()) } else { Ok(body) }
    };
    timeout(REQUEST_TIME, whole).await.unwrap_or_else(|_| {
        let message =
            format!("the request took more than {} s to arrive; send it at once", REQUEST_TIME.as_secs());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
            .code("request_timeout"))
    })
}
