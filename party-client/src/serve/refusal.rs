//! Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}` and a status.

use hyper::{
    Response, StatusCode,
    header::{CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};
use sotto_models::{Error as Model, service::Error as Service};
use sotto_net::Error as Net;
use sotto_party::output::one_line;

use super::body::{self, Body};
use crate::error::{Error, Fault};

/// Seconds after which to ask a busy endpoint again.
const LATER: u16 = 5;

/// Why a request is not answered.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    /// OpenAI's name of the kind.
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    /// Whether the same request may be answered a little later.
    later: bool,
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, kind, code: None, param: None, message: message.into(), later: false }
    }

    /// A mistake in the request.
    pub fn mistake(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A mistake in a field of the request.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { param: Some(param.into()), ..Refusal::mistake(message) }
    }

    /// Prompt and answer do not fit.
    pub fn too_long(message: impl Into<String>) -> Refusal {
        Refusal::mistake(message).code("context_length_exceeded")
    }

    /// What nobody may do who asks like this.
    pub fn forbidden(code: &'static str, message: &str) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "invalid_request_error", message).code(code)
    }

    /// As many requests wait as may.
    pub fn busy(waiting: usize) -> Refusal {
        let message = format!(
            "{waiting} requests wait already, as many as may; ask again later, or raise --max-waiting"
        );
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        refusal.code("rate_limit_exceeded").later()
    }

    /// The endpoint is about to end.
    pub fn stopping() -> Refusal {
        let message = "the endpoint is stopping; ask again when it runs again";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("stopping").later()
    }

    /// The server has another model by now.
    pub fn model_changed() -> Refusal {
        let message = "the server offers another model than when this endpoint was started; start it again";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("model_changed")
    }

    /// The answer is there, but may be wrong.
    pub fn out_of_range() -> Refusal {
        let message = "the answer may be wrong: a number left its range while the model computed; try another \
                       prompt (the server does not know of this, and learns something of the prompt if it is \
                       told)";
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "server_error", message).code("out_of_range")
    }

    /// A mistake of this program.
    pub fn internal(what: impl std::fmt::Display) -> Refusal {
        let message = format!("internal error of the endpoint: {what}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
    }

    /// The same with a code for programs.
    pub fn code(self, code: &'static str) -> Refusal {
        Refusal { code: Some(code), ..self }
    }

    /// The same with the field that is at fault, if that is not known better.
    pub fn param(self, param: impl Into<String>) -> Refusal {
        Refusal { param: self.param.or_else(|| Some(param.into())), ..self }
    }

    /// The same where it is not to be tried again by itself.
    pub fn not_again(self) -> Refusal {
        Refusal { later: false, ..self }
    }

    fn later(self) -> Refusal {
        Refusal { later: true, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub fn object(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        } })
    }

    /// The whole answer.
    pub fn response(&self) -> Response<Body> {
        let mut response = body::json(self.status, &self.object());
        let headers = response.headers_mut();
        // Clients of OpenAI's own make try again by themselves, unless they are told not to.
        headers.insert("x-should-retry", HeaderValue::from_static(if self.later { "true" } else { "false" }));
        if self.later {
            headers.insert(RETRY_AFTER, LATER.into());
        }
        // Strangers keep no connection.
        if matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Refusal {
        let message = one_line(error);
        match error {
            Error::Input(Model::PromptTooLong { .. })
            | Error::Session(Service::TooLong { .. } | Service::PromptLimit { .. } | Service::Refused) => {
                return Refusal::too_long(message);
            }
            Error::Input(Model::Sampling { option, .. }) => return Refusal::field(*option, message),
            Error::Input(Model::ChatTemplate { .. }) => return Refusal::field("messages", message),
            Error::NotAdmitted(_) => {
                return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
                    .code("upstream_busy")
                    .later();
            }
            Error::Session(Service::Quota { .. }) => {
                return Refusal::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
                    .code("insufficient_quota");
            }
            Error::Net(Net::Connect { .. }) => {
                return Refusal::new(StatusCode::BAD_GATEWAY, "server_error", message)
                    .code("upstream_unreachable");
            }
            Error::Stopped => return Refusal::stopping(),
            _ => {}
        }
        match error.fault() {
            Fault::User => Refusal::mistake(message),
            Fault::Connection => {
                Refusal::new(StatusCode::BAD_GATEWAY, "server_error", message).code("upstream_lost")
            }
            Fault::Server => {
                Refusal::new(StatusCode::BAD_GATEWAY, "server_error", message).code("upstream_error")
            }
            Fault::Program => Refusal::internal(message),
        }
    }
}
