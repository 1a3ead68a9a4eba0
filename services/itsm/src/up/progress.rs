//! What a person sees while things start: a line for each step, on standard error.
//!
//! At a terminal a spinner names what is under way; where the log is JSON, steps are log events,
//! so that standard error stays readable by machines.

use std::{
    future::Future,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use kit::telemetry::Format;

/// Shows how a start goes on.
#[derive(Clone)]
pub struct Progress {
    form: Form,
    active: Arc<Mutex<Vec<&'static str>>>,
    begun: Instant,
}

#[derive(Clone)]
enum Form {
    Spinner(ProgressBar),
    Lines,
    Events,
}

impl Progress {
    /// Begins; the log has this form.
    pub fn begin(format: Format) -> Self {
        let form = match format {
            Format::Json => Form::Events,
            Format::Text if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(80));
                Form::Spinner(bar)
            }
            Format::Text => Form::Lines,
        };
        Self { form, active: Arc::default(), begun: Instant::now() }
    }

    /// Does a step and shows how long it took.
    ///
    /// # Errors
    /// As the step.
    pub async fn step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.show(|active| active.push(name));
        let begun = Instant::now();
        let done = work.await;
        self.show(|active| active.retain(|other| *other != name));
        if done.is_ok() {
            let took = begun.elapsed();
            match &self.form {
                Form::Events => {
                    tracing::info!(step = name, took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "done");
                }
                Form::Spinner(_) | Form::Lines => self.say(&format!("{name:<34} {:>6.2} s", took.as_secs_f64())),
            }
        }
        done
    }

    /// Shows a line.
    pub fn say(&self, text: &str) {
        match &self.form {
            Form::Spinner(bar) => bar.println(format!("  {text}")),
            // With standard error gone there is nobody to tell.
            Form::Lines => drop(writeln!(std::io::stderr(), "  {text}")),
            Form::Events => tracing::info!("{text}"),
        }
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes the spinner away.
    pub fn end(&self) {
        if let Form::Spinner(bar) = &self.form {
            bar.finish_and_clear();
        }
    }

    fn show(&self, change: impl FnOnce(&mut Vec<&'static str>)) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut active);
        if let Form::Spinner(bar) = &self.form {
            bar.set_message(active.join(", "));
        }
    }
}
