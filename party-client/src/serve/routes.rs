//! Which request is answered how.

use std::{sync::Arc, time::Instant};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use serde_json::json;
use sotto_models::Task;
use sotto_net::compute;
use sotto_shares::Rng;
use tokio::sync::mpsc::channel;

use super::{
    Endpoint,
    body::{self, Body, json, typed},
    embeddings,
    events::Event,
    job::{Job, Work},
    refusal::Refusal,
    reply::{self, Reply},
    request::{Kind, StreamOptions, Wanted},
    stream::Stream,
};

/// The page. Its script and style are allowed by a number that is new each time.
const PAGE: &str = include_str!("page.html");
/// What stands for that number in the page.
const NONCE: &str = "{{nonce}}";
/// Pieces of a stream that wait for its reader.
const PIECES: usize = 32;
const MODELS: &str = "/v1/models";

/// What can be asked.
#[derive(Clone, Copy)]
enum Route {
    Page,
    Health,
    Models,
    Model,
    Generate(Kind),
    Embed,
    /// It is there, but by this method.
    Other(&'static str),
    None,
}

impl Route {
    fn of(method: &Method, path: &str) -> Route {
        let one_model = path.strip_prefix(MODELS).is_some_and(|rest| rest.starts_with('/'));
        let (allowed, route) = match path {
            "/" => (Method::GET, Route::Page),
            "/health" => (Method::GET, Route::Health),
            MODELS => (Method::GET, Route::Models),
            _ if one_model => (Method::GET, Route::Model),
            "/v1/completions" => (Method::POST, Route::Generate(Kind::Text)),
            "/v1/chat/completions" => (Method::POST, Route::Generate(Kind::Chat)),
            "/v1/embeddings" => (Method::POST, Route::Embed),
            _ => return Route::None,
        };
        match *method == allowed {
            true => route,
            false if allowed == Method::GET => Route::Other("GET"),
            false => Route::Other("POST"),
        }
    }

    /// For the log: never what a stranger has written.
    fn name(self) -> &'static str {
        match self {
            Route::Page => "GET /",
            Route::Health => "GET /health",
            Route::Models => "GET /v1/models",
            Route::Model => "GET /v1/models/...",
            Route::Generate(Kind::Text) => "POST /v1/completions",
            Route::Generate(Kind::Chat) => "POST /v1/chat/completions",
            Route::Embed => "POST /v1/embeddings",
            Route::Other(_) => "another method",
            Route::None => "another path",
        }
    }
}

/// Answers a request. It stops what it has begun when it is dropped, or its body is.
pub async fn answer(endpoint: &Arc<Endpoint>, request: Request<Incoming>) -> Response<Body> {
    let begun = Instant::now();
    let route = Route::of(request.method(), request.uri().path());
    let response = respond(endpoint, route, request).await.unwrap_or_else(|refusal| refusal.response());
    let (status, after) = (response.status(), begun.elapsed());
    endpoint.events.tell(Event::Answered { route: route.name(), status, after });
    response
}

async fn respond(
    endpoint: &Arc<Endpoint>,
    route: Route,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let access = &endpoint.access;
    access.check_names(request.uri(), request.headers())?;
    if !matches!(route, Route::Page | Route::Health) {
        access.check_key(request.headers())?;
    }
    match route {
        Route::Page => Ok(page(access.needs_key())),
        Route::Health => Ok(json(
            StatusCode::OK,
            &json!({
                "status": "ok",
                "requests": endpoint.places.taken(),
                "waiting": endpoint.places.waiting(),
            "idle_sessions": endpoint.sessions.count(),
            }),
        )),
        Route::Models => {
            Ok(json(StatusCode::OK, &json!({ "object": "list", "data": [reply::model(endpoint)] })))
        }
        Route::Model => match request.uri().path().strip_prefix(MODELS) {
            Some(path) if path.trim_start_matches('/') == endpoint.name => {
                Ok(json(StatusCode::OK, &reply::model(endpoint)))
            }
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!("there is no such model, expected \"{}\"", endpoint.name),
            )
            .param("model")
            .code("model_not_found")),
        },
        Route::Generate(kind) => {
            expect(endpoint, Task::Generate)?;
            generate(endpoint, kind, request).await
        }
        Route::Embed => {
            expect(endpoint, Task::Embed)?;
            embed(endpoint, request).await
        }
        Route::Other(allowed) => {
            let message = format!("this path takes {allowed} only");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut response = Refusal::new(status, "invalid_request_error", message).response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            Ok(response)
        }
        Route::None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "there is nothing at this path, expected /v1/models, /v1/completions, /v1/chat/completions, \
             /v1/embeddings, /health or /",
        )
        .code("unknown_url")),
    }
}

/// Whether the model is for this.
fn expect(endpoint: &Endpoint, task: Task) -> Result<(), Refusal> {
    let offered = endpoint.model.task();
    if task == offered {
        return Ok(());
    }
    let path = if offered == Task::Embed { "/v1/embeddings" } else { "/v1/completions" };
    let message = format!("this model does not {}: use {path}", task.name());
    Err(Refusal::mistake(message).code("unsupported_task"))
}

async fn generate(
    endpoint: &Arc<Endpoint>,
    kind: Kind,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    check_type(request.headers())?;
    let body = body::read(request.into_body()).await?;
    let wanted = {
        let _turn = endpoint.reading.acquire().await;
        compute(|| Wanted::read(&body, kind, endpoint))?
    };
    drop(body);
    let reply = Reply::new(kind, endpoint);
    match wanted.stream {
        None => whole(endpoint, wanted, &reply).await,
        Some(options) => streamed(endpoint, wanted, reply, options).await,
    }
}

async fn whole(endpoint: &Arc<Endpoint>, wanted: Wanted, reply: &Reply) -> Result<Response<Body>, Refusal> {
    let place = endpoint.places.take().await?;
    let mut reports = vec![];
    for generation in wanted.generations {
        let report = Job::start(endpoint, Work::Answer(generation), &place)?.end().await;
        // What is asked again by itself would make the answers that there are once more.
        reports
            .push(report.map_err(|refusal| if reports.is_empty() { refusal } else { refusal.not_again() })?);
    }
    // Only now: the server sees how many sessions there are.
    if !reports.iter().all(crate::Report::in_range) {
        return Err(Refusal::out_of_range());
    }
    Ok(json(StatusCode::OK, &reply.whole(&reports, wanted.prompt_tokens)))
}

async fn streamed(
    endpoint: &Arc<Endpoint>,
    wanted: Wanted,
    reply: Reply,
    options: StreamOptions,
) -> Result<Response<Body>, Refusal> {
    let place = endpoint.places.take().await?;
    let Some(first) = wanted.generations.first() else {
        return Err(Refusal::internal("nothing to generate"));
    };
    let mut job = Job::start(endpoint, Work::Answer(first.clone()), &place)?;
    // Where progress is shown, errors are too. Everyone else gets a status that says what is wrong.
    if !options.progress {
        job.begun().await?;
    }
    let (pieces, body) = channel(PIECES);
    tokio::spawn(Stream { reply, options, pieces }.run(endpoint.clone(), wanted, job, place));
    Ok(typed(StatusCode::OK, "text/event-stream", Body::Stream(body)))
}

async fn embed(endpoint: &Arc<Endpoint>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    check_type(request.headers())?;
    let body = body::read(request.into_body()).await?;
    let wanted = {
        let _turn = endpoint.reading.acquire().await;
        compute(|| embeddings::Wanted::read(&body, endpoint))?
    };
    drop(body);
    let place = endpoint.places.take().await?;
    let report = Job::start(endpoint, Work::Texts(wanted.request.clone()), &place)?.end().await?;
    match report.in_range() {
        true => Ok(json(StatusCode::OK, &wanted.answer(endpoint, &report))),
        false => Err(Refusal::out_of_range()),
    }
}

/// A page can make a browser send texts and forms anywhere, and JSON only where it is allowed to.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            "the body must be JSON: send `Content-Type: application/json`",
        )
        .code("unsupported_media_type")),
    }
}

fn page(needs_key: bool) -> Response<Body> {
    let nonce = format!("{:032x}", u128::from_le_bytes(Rng::from_os().bytes()));
    let html = PAGE.replace(NONCE, &nonce).replace("{{key}}", if needs_key { "true" } else { "false" });
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", Body::Whole(html.into()));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert("content-security-policy", policy);
    }
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}
