//! What Redis does in one step: scripts over the keys of one cache.
//!
//! All keys of a cache begin with `{prefix}:`, so that a cluster has them at one place:
//!
//! | key | what it is |
//! |---|---|
//! | `s` | a sorted set, the state: how often something was invalidated (`n`), and at which of these numbers each key (`k:..`) and tag (`t:..`) was last; which incarnation of the state this is (`i`); before which number everything is invalid (`f`). `i` and `f` are negative, so that they are not among the numbers |
//! | `v:<key>` | a hash, a value: its bytes (`b`), whether it is one (`k`: `v`, or `n` for none), the incarnation and the number when its load began (`i`, `n`), for how many milliseconds it is fresh and kept (`f`, `p`), and a field for each tag (`t:..`) |
//! | `l:<key>` | the token of the process that loads the key |
//! | `c` | the channel on which invalidations are published |
//!
//! A value is valid if its incarnation is that of the state, and nothing of it was invalidated after its load began. So what was loaded
//! before an invalidation is refused when it arrives after it; and when Redis loses the state, or evicts it, every value that is left is
//! invalid, as is every load that began before.

use std::sync::OnceLock;

use redis::{Cmd, Value, cmd};

use crate::{Error, redis::Shared};

/// A script, and its name at the server once that is known.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    sha: OnceLock<String>,
}

impl Script {
    /// Looks a key up, or takes the lease to load it.
    ///
    /// Arguments: token, milliseconds of the lease (0 for none), key, seed, milliseconds that a value may be stale, whether "none" will do.
    ///
    /// Answers: `v` kind fresh bytes tags.., `l` (leased), `o` (no lease to have), `b` (leased to another); these three with i and n.
    pub(super) fn look() -> Self {
        Self::new(
            r"
local started = function(e) return e.i == i and tonumber(e.n) end
local h = redis.call('HGETALL', KEYS[2])
if #h > 0 then
  local e, tags = {}, {}
  for at = 1, #h, 2 do
    if string.sub(h[at], 1, 2) == 't:' then tags[#tags + 1] = h[at] else e[h[at]] = h[at + 1] end
  end
  local began = started(e)
  local ok = began and began >= floor and not gone(began, 'k:' .. ARGV[3])
  for _, tag in ipairs(tags) do ok = ok and not gone(began, tag) end
  if ok then
    local fresh = tonumber(e.f) - (tonumber(e.p) - redis.call('PTTL', KEYS[2]))
    local will_do
    if e.k == 'n' then will_do = fresh > 0 and ARGV[6] == '1' else will_do = fresh > -tonumber(ARGV[5]) end
    if will_do then return {'v', e.k, fresh, e.b, unpack(tags)} end
  end
end
if ARGV[2] == '0' then return {'o', i, n} end
local got = redis.pcall('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2])
if not got then return {'b', i, n} end
if got.err then return {'o', i, n} end
return {'l', i, n}",
            true,
        )
    }

    /// Stores what a load found, unless it was invalidated since the load began, and ends the lease.
    ///
    /// Arguments: token, i, n, seed, key, kind, bytes, milliseconds that it is fresh and that it is kept, tags...
    pub(super) fn fill() -> Self {
        Self::new(
            r"
local began = tonumber(ARGV[3])
local ok = i == ARGV[2] and began >= floor and not gone(began, 'k:' .. ARGV[5])
for at = 10, #ARGV do ok = ok and not gone(began, ARGV[at]) end
-- It comes first: after another write, a server that is full refuses nothing to a script.
if ok then redis.call('HSET', KEYS[2], 'i', 'none') end
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
if not ok then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'i', i, 'n', ARGV[3], 'k', ARGV[6], 'b', ARGV[7], 'f', ARGV[8], 'p', ARGV[9])
for at = 10, #ARGV do redis.call('HSET', KEYS[2], ARGV[at], '') end
redis.call('PEXPIRE', KEYS[2], ARGV[9])
return 1",
            true,
        )
    }

    /// Ends a lease, if it is still that of the token.
    pub(super) fn release() -> Self {
        Self::new(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
            false,
        )
    }

    /// Invalidates keys, tags or everything, and tells all who listen.
    ///
    /// If the memory of the server is full, the state is given up, which invalidates everything: less memory is always to be had.
    ///
    /// Arguments: token, channel, origin, seed, what the keys begin with, then `k:..`, `t:..` or `*`...
    pub(super) fn invalidate() -> Self {
        Self::new(
            r"
local broken = not can_write
for at = 6, #ARGV do
  local what = ARGV[at]
  local n = redis.pcall('ZINCRBY', KEYS[1], 1, 'n')
  if type(n) == 'table' then broken = true
  elseif what == '*' then
    redis.pcall('ZADD', KEYS[1], '-' .. n, 'f')
    redis.call('ZREMRANGEBYSCORE', KEYS[1], 1, '(' .. n)
  else
    local added = redis.pcall('ZADD', KEYS[1], n, what)
    if type(added) == 'table' then broken = true end
  end
  if string.sub(what, 1, 2) == 'k:' then
    local key = string.sub(what, 3)
    redis.call('DEL', ARGV[5] .. 'v:' .. key, ARGV[5] .. 'l:' .. key)
  end
end
if broken then redis.call('DEL', KEYS[1])
elseif redis.call('ZCARD', KEYS[1]) > 20000 then
  local cut = redis.call('ZRANGE', KEYS[1], 10000, 10000, 'WITHSCORES')[2]
  if tonumber(cut) > -floor then redis.call('ZADD', KEYS[1], '-' .. cut, 'f') end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], 1, cut)
end
for at = 6, #ARGV do redis.call('PUBLISH', ARGV[2], ARGV[3] .. ' ' .. ARGV[at]) end
return 1",
            true,
        )
    }

    /// `seeded`: it begins with the state, whose key is the first and whose seed is the fourth argument.
    fn new(body: &str, seeded: bool) -> Self {
        let state = if seeded { STATE } else { "" };
        Self {
            text: format!("{state}{body}"),
            sha: OnceLock::new(),
        }
    }

    /// Runs it.
    pub(super) async fn run(
        &self,
        redis: &Shared,
        keys: &[&str],
        args: impl Fn(&mut Cmd),
    ) -> Result<Value, Error> {
        let call = |name: &str, script: &str| {
            let mut call = cmd(name);
            call.arg(script).arg(keys.len()).arg(keys);
            args(&mut call);
            call
        };
        let mut redis = redis;
        if let Some(sha) = self.sha.get() {
            let answer = call("EVALSHA", sha)
                .query_async(&mut redis)
                .await
                .map_err(Error::from);
            match answer {
                Err(error) if is_no_script(&error) => {}
                answer => return answer,
            }
        }
        // The server keeps the text of what it ran.
        let answer = call("EVAL", &self.text).query_async(&mut redis).await?;
        if self.sha.get().is_none() {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(&self.text);
            let sha: Result<String, _> = load.query_async(&mut redis).await;
            // Without the name, the text is sent again.
            if let Ok(sha) = sha {
                drop(self.sha.set(sha));
            }
        }
        Ok(answer)
    }
}

fn is_no_script(error: &Error) -> bool {
    let inner = error
        .inner()
        .and_then(|inner| inner.downcast_ref::<redis::RedisError>());
    inner.is_some_and(|error| crate::redis::error::code(error) == Some("NOSCRIPT"))
}

/// Reads the state, or makes one: `i`, `n`, `floor`, and whether something of a number was invalidated after it.
const STATE: &str = r"
local can_write = true
if not redis.call('ZSCORE', KEYS[1], 'i') then
  local made = redis.pcall('ZADD', KEYS[1], '-' .. ARGV[4], 'i', 0, 'n', 0, 'f')
  can_write = type(made) ~= 'table'
end
local i = redis.call('ZSCORE', KEYS[1], 'i') or 'none'
local n = redis.call('ZSCORE', KEYS[1], 'n') or '0'
local floor = -tonumber(redis.call('ZSCORE', KEYS[1], 'f') or '0')
local gone = function(began, what)
  local last = redis.call('ZSCORE', KEYS[1], what)
  return last and tonumber(last) > began
end
";
