//! Every setting of everything that has settings: the same by code, by the environment and by serde; and what is wrong is said right.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used)]

use std::{fmt::Debug, io, time::Duration};

use pool_core::{
    Config, ConfigError, Env, Flight, FlightConfig, Gauge, IdleOrder, KeyedConfig, KeyedPool,
    Limiter, LimiterConfig, MixedManager, MixedPool, Opened, Pool, SharedConfig, SharedManager,
    SharedPool, Usage, fan_out, fan_out::FanOutConfig, keyed_manager_fn, manager_fn,
};
use serde::{Serialize, de::DeserializeOwned};

/// What every kind of settings can.
trait Settings: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned {
    fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError>;
    fn validate(&self) -> Result<(), ConfigError>;
    fn name(&self) -> Option<String>;
}

macro_rules! settings {
    ($($config:ty),+) => {$(
        impl Settings for $config {
            fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError> {
                <$config>::apply_env(self, env)
            }

            fn validate(&self) -> Result<(), ConfigError> {
                <$config>::validate(self)
            }

            fn name(&self) -> Option<String> {
                self.get_name().map(str::to_owned)
            }
        }
    )+};
}

settings!(
    Config,
    SharedConfig,
    LimiterConfig,
    FlightConfig,
    FanOutConfig
);

impl Settings for KeyedConfig {
    fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError> {
        Self::apply_env(self, env)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        Self::validate(self)
    }

    fn name(&self) -> Option<String> {
        self.get_each().get_name().map(str::to_owned)
    }
}

/// By the environment, all at once.
fn from_vars<S: Settings>(prefix: &str, vars: &[(String, String)]) -> Result<S, ConfigError> {
    let vars = vars
        .iter()
        .map(|(name, text)| (format!("{prefix}_{}", name.to_uppercase()), text));
    let mut env = Env::from_vars(prefix, vars.map(|(name, text)| (name, text.clone())));
    let mut settings = S::default();
    settings.apply_env(&mut env)?;
    settings.validate().map_err(|error| env.blame(error))?;
    env.finish()?;
    Ok(settings)
}

fn from_map<S: Settings>(entries: &[(String, String)]) -> Result<S, String> {
    let map: serde_json::Map<_, _> = entries
        .iter()
        .map(|(name, text)| (name.clone(), text.clone().into()))
        .collect();
    serde_json::from_value(map.into()).map_err(|error| error.to_string())
}

/// `texts` names every setting of `S`, with a text that is not its default's; `by_code` is what they say.
#[track_caller]
fn are_the_same<S: Settings>(by_code: S, texts: &[(&str, &str)]) {
    let texts: Vec<_> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let serde_json::Value::Object(shown) = serde_json::to_value(&by_code).unwrap() else {
        panic!("settings are a map")
    };
    let mut named: Vec<_> = texts.iter().map(|(name, _)| name.clone()).collect();
    let mut known: Vec<_> = shown.keys().cloned().collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known, "each setting once");
    assert_eq!(from_vars::<S>("P", &texts).unwrap(), by_code);
    assert_eq!(from_map::<S>(&texts).unwrap(), by_code);
    // What is written is read, and with the texts of the environment.
    assert_eq!(
        serde_json::from_value::<S>(shown.clone().into()).unwrap(),
        by_code
    );
    for (name, text) in &texts {
        let written = match &shown[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(&written, text, "{name}");
        // Each by itself changes something.
        let alone = [(name.clone(), text.clone())];
        let name_of_p = S::default().name().is_none();
        assert!(name_of_p, "a default has no name");
        assert_ne!(
            from_map::<S>(&alone).unwrap_or_default(),
            S::default(),
            "{name}"
        );
    }
    // A default is read from what it writes, `auto` and `off` included.
    let text = serde_json::to_string(&S::default()).unwrap();
    assert_eq!(serde_json::from_str::<S>(&text).unwrap(), S::default());
    // A letter too many, and what has no likeness.
    let (name, text) = &texts[1];
    let typo = [(format!("{name}x"), text.clone())];
    let says = from_vars::<S>("P", &typo).unwrap_err().to_string();
    let (wrong, right) = (format!("P_{name}X"), format!("P_{name}"));
    let [wrong, right] = [wrong, right].map(|name| name.to_uppercase());
    assert_eq!(
        says,
        format!("{wrong} must be left out: no setting has this name; did you mean {right}?")
    );
    let says = from_map::<S>(&typo).unwrap_err();
    assert_eq!(
        says,
        format!("{name}x must be left out: no setting has this name; did you mean {name}?")
    );
    // What Kubernetes sets.
    let service = [("PORT", "tcp://10.0.0.1:80"), ("SERVICE_HOST", "10.0.0.1")];
    let service = service.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let named = from_vars::<S>("ORDERS_DB", &service).unwrap();
    assert_eq!(named.name().as_deref(), Some("orders_db"));
    // A name that says nothing.
    let says = from_vars::<S>("P", &[("name".to_owned(), " ".to_owned())]).unwrap_err();
    assert!(says.to_string().starts_with("P_NAME is "), "{says}");
}

const SEC: Duration = Duration::from_secs(1);

/// What a pool and each key of a keyed one can be told alike, none of it as by default; and its texts.
fn exclusive() -> (Config, Vec<(&'static str, &'static str)>) {
    let config = Config::new()
        .name("orders")
        .max_size(7)
        .max_opening(3)
        .max_waiters(9)
        .acquire_timeout(SEC)
        .create_timeout(2 * SEC)
        .check_timeout(3 * SEC)
        .reset_timeout(4 * SEC)
        .close_timeout(5 * SEC)
        .idle_timeout(None)
        .max_lifetime(6 * SEC)
        .lifetime_jitter(0.5)
        .check_after(7 * SEC)
        .keepalive(8 * SEC)
        .reclaim_after(9 * SEC)
        .leak_after(11 * SEC)
        .slow_get(None)
        .idle_order(IdleOrder::Fifo);
    let texts = [
        ("name", "orders"),
        ("max_size", "7"),
        ("max_opening", "3"),
        ("max_waiters", "9"),
        ("acquire_timeout", "1s"),
        ("create_timeout", "2s"),
        ("check_timeout", "3s"),
        ("reset_timeout", "4s"),
        ("close_timeout", "5s"),
        ("idle_timeout", "off"),
        ("max_lifetime", "6s"),
        ("lifetime_jitter", "0.5"),
        ("check_after", "7s"),
        ("keepalive", "8s"),
        ("reclaim_after", "9s"),
        ("leak_after", "11s"),
        ("slow_get", "off"),
        ("idle_order", "fifo"),
    ];
    (config, texts.to_vec())
}

#[test]
fn those_of_a_pool_are_the_same_by_code_by_the_environment_and_by_serde() {
    let (config, mut texts) = exclusive();
    let config = config.min_idle(2).shed_target(10 * SEC);
    texts.extend([("min_idle", "2"), ("shed_target", "10s")]);
    assert_eq!(
        (config.get_max_size(), config.get_max_waiters()),
        (7, Some(9))
    );
    assert_eq!(
        (config.get_keepalive(), config.get_idle_order()),
        (Some(8 * SEC), IdleOrder::Fifo)
    );
    are_the_same(config, &texts);
}

#[test]
fn those_of_a_keyed_pool_are_flat() {
    let (each, mut texts) = exclusive();
    let config = KeyedConfig::new()
        .max_total(70)
        .max_total_waiters(90)
        .each(each.clone());
    assert_eq!(
        (config.get_max_total(), config.get_max_total_waiters()),
        (Some(70), Some(90))
    );
    assert_eq!(config.get_each(), &each);
    // Those two that a keyed pool does not have are there all the same, at what they must be.
    texts.extend([("min_idle", "0"), ("shed_target", "off")]);
    texts.extend([("max_total", "70"), ("max_total_waiters", "90")]);
    let texts: Vec<_> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    assert_eq!(from_vars::<KeyedConfig>("P", &texts).unwrap(), config);
    assert_eq!(from_map::<KeyedConfig>(&texts).unwrap(), config);
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written.as_object().unwrap().len(), texts.len());
    for (name, text) in &texts {
        let shown = &written[name];
        assert_eq!(
            shown
                .as_str()
                .map_or_else(|| shown.to_string(), str::to_owned),
            *text,
            "{name}"
        );
    }
    assert_eq!(
        serde_json::from_value::<KeyedConfig>(written).unwrap(),
        config
    );
    for (name, says) in [
        ("max_total", "P_MAX_TOTAL is 0, but must be at least 1"),
        ("max_size", "P_MAX_SIZE is 0, but must be at least 1"),
    ] {
        let text = "0";
        let error = from_vars::<KeyedConfig>("P", &[(name.to_owned(), text.to_owned())]);
        assert_eq!(error.unwrap_err().to_string(), says);
    }
}

#[test]
fn those_of_a_shared_pool_are_the_same_by_code_by_the_environment_and_by_serde() {
    let config = SharedConfig::new()
        .name("cache")
        .max_size(7)
        .min_idle(2)
        .spare_shares(5)
        .max_opening(3)
        .max_waiters(9)
        .acquire_timeout(SEC)
        .create_timeout(2 * SEC)
        .close_timeout(5 * SEC)
        .idle_timeout(None)
        .max_lifetime(6 * SEC)
        .lifetime_jitter(0.5)
        .reclaim_after(9 * SEC)
        .slow_get(None);
    let texts = [
        ("name", "cache"),
        ("max_size", "7"),
        ("min_idle", "2"),
        ("spare_shares", "5"),
        ("max_opening", "3"),
        ("max_waiters", "9"),
        ("acquire_timeout", "1s"),
        ("create_timeout", "2s"),
        ("close_timeout", "5s"),
        ("idle_timeout", "off"),
        ("max_lifetime", "6s"),
        ("lifetime_jitter", "0.5"),
        ("reclaim_after", "9s"),
        ("slow_get", "off"),
    ];
    are_the_same(config, &texts);
}

#[test]
fn those_of_a_limiter_a_flight_and_a_fan_out_too() {
    let limiter = LimiterConfig::new()
        .name("door")
        .limit(3)
        .max_waiters(9)
        .acquire_timeout(SEC)
        .reclaim_after(None);
    assert_eq!(
        (limiter.get_limit(), limiter.get_reclaim_after()),
        (3, None)
    );
    let texts = [
        ("name", "door"),
        ("limit", "3"),
        ("max_waiters", "9"),
        ("acquire_timeout", "1s"),
        ("reclaim_after", "off"),
    ];
    are_the_same(limiter, &texts);
    let flight = FlightConfig::new()
        .name("pages")
        .max_waiters(9)
        .timeout(SEC)
        .retry_errors(true);
    assert_eq!(
        (flight.get_timeout(), flight.get_retry_errors()),
        (SEC, true)
    );
    let texts = [
        ("name", "pages"),
        ("max_waiters", "9"),
        ("timeout", "1s"),
        ("retry_errors", "true"),
    ];
    are_the_same(flight, &texts);
    let fan_out = FanOutConfig::new().name("import").limit(9).each_within(SEC);
    assert_eq!(
        (fan_out.get_limit(), fan_out.get_each_within()),
        (Some(9), Some(SEC))
    );
    are_the_same(
        fan_out,
        &[("name", "import"), ("limit", "9"), ("each_within", "1s")],
    );
    for (error, says) in [
        (
            LimiterConfig::new().limit(0).validate(),
            "limit is 0, but must be at least 1",
        ),
        (
            LimiterConfig::new()
                .acquire_timeout(Duration::ZERO)
                .validate(),
            "acquire_timeout is 0s, but must be longer than zero, or off",
        ),
        (
            FlightConfig::new().timeout(Duration::ZERO).validate(),
            "timeout is 0s, but must be longer than zero",
        ),
        (
            FanOutConfig::new().limit(0).validate(),
            "limit is 0, but must be at least 1, or auto",
        ),
        (
            FanOutConfig::new().each_within(Duration::ZERO).validate(),
            "each_within is 0s, but must be longer than zero, or off",
        ),
    ] {
        assert_eq!(error.unwrap_err().to_string(), says);
    }
}

async fn open() -> io::Result<()> {
    Ok(())
}

struct Lines;

impl SharedManager for Lines {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, gauge: Gauge) -> io::Result<()> {
        gauge.set_capacity(1);
        Ok(())
    }
}

impl MixedManager<u8> for Lines {
    type One = ();
    type Many = ();
    type Error = io::Error;

    async fn create(&self, _: &u8, _: Gauge) -> io::Result<Opened<(), ()>> {
        Ok(Opened::Many(()))
    }

    async fn check(&self, (): &mut (), _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

/// A builder of each kind: it keeps its name when it is given a config that has none, takes that of one that has, and says it.
#[test]
fn a_builder_keeps_its_name_unless_a_config_has_one_and_tells_both_apart() {
    macro_rules! names {
        ($begin:expr, $config:ty) => {{
            let plain = <$config>::new();
            assert_eq!(
                $begin
                    .name("mine")
                    .config(plain.clone())
                    .build()
                    .unwrap()
                    .name(),
                "mine"
            );
            let other = plain.name("theirs");
            assert_eq!(
                $begin
                    .name("mine")
                    .config(other.clone())
                    .build()
                    .unwrap()
                    .name(),
                "theirs"
            );
            assert_eq!(
                $begin.config(other).name("mine").build().unwrap().name(),
                "mine"
            );
            let named = $begin.env("SETTINGS_OF_NOBODY").unwrap().build().unwrap();
            assert_eq!(named.name(), "settings_of_nobody");
            let error = $begin.name("").build().unwrap_err().to_string();
            assert_eq!(error, "name is \"\", but must be text that is not empty");
        }};
    }
    names!(Pool::builder(manager_fn(open)), Config);
    names!(SharedPool::builder(Lines), SharedConfig);
    names!(
        KeyedPool::builder(keyed_manager_fn(|_: &u8| open())),
        Config
    );
    names!(MixedPool::<u8, Lines>::builder(Lines), Config);
    names!(Limiter::builder(3), LimiterConfig);
    names!(Flight::<u8, ()>::builder(), FlightConfig);
    assert_eq!(
        Limiter::from_env("SETTINGS_OF_NOBODY").unwrap().name(),
        "settings_of_nobody"
    );
    assert_eq!(
        Flight::<u8, ()>::from_env("SETTINGS_OF_NOBODY")
            .unwrap()
            .name(),
        "settings_of_nobody"
    );
    assert_eq!(
        Limiter::builder(3)
            .config(LimiterConfig::new().limit(5))
            .build()
            .unwrap()
            .status()
            .limit,
        5
    );
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_takes_its_settings_from_a_config() {
    let config = FanOutConfig::new().limit(2).each_within(SEC);
    let running = std::sync::atomic::AtomicU32::new(0);
    let most = std::sync::atomic::AtomicU32::new(0);
    let each = |secs: u32| {
        let (running, most) = (&running, &most);
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(SEC * secs / 2).await;
            running.fetch_sub(1, SeqCst);
            io::Result::Ok(secs)
        }
    };
    let all = fan_out([1_u32, 1, 1, 3])
        .config(&config)
        .map(each)
        .settle()
        .await;
    assert!(all[3].as_ref().unwrap_err().is_timeout());
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 3);
    assert_eq!(most.into_inner(), 2);
}

#[test]
fn a_fan_out_reads_its_limits_from_the_environment_where_it_sets_them() {
    let nothing_set = fan_out([1_u32]).limit(3).env("SETTINGS_OF_NOBODY").unwrap();
    assert!(
        format!("{nothing_set:?}").contains("limit: Some(3)"),
        "{nothing_set:?}"
    );
    let error = fan_out([1_u32])
        .limit(0)
        .env("SETTINGS_OF_NOBODY")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "limit is 0, but must be at least 1, or auto"
    );
}
