/*
 * SQL that users of Treasure Data bring: its time functions, with the meaning that is documented
 * for them, and the names of Presto for which the engine has the same under another name.
 * docs/from-treasure-data.md lists them.
 *
 * They are macros: a call becomes part of the query, and what is constant in it, `now()` included,
 * is computed before anything is read, so that `time >= … AND time < …` reaches the scan. Hence
 *  - no subqueries: they are not constants;
 *  - `error` stands outside of lambdas: it is never folded, and nothing around it is;
 *  - an argument that stands twice in a macro is computed, and planned, twice, and so on for calls
 *    within calls. A list of one value and a lambda bind it: `list_transform([…], lambda x: …)[1]`.
 *
 * They live in memory, in `ml.td`, and are made whenever the store opens: nothing of them is on
 * disk, and a store of any age has those of the program.
 */

/** Zones that the engine's table lacks. Signs are the other way round in `Etc/`. */
const regions = {
  Z: 'UTC',
  EDT: 'Etc/GMT+4',
  CDT: 'Etc/GMT+5',
  MDT: 'Etc/GMT+6',
  PDT: 'Etc/GMT+7',
};

/** A time as text: date, time of day if any, zone if any. */
const timePattern =
  '(\\d+[-/]\\d+[-/]\\d+(?:[ T]\\d+:\\d+(?::\\d+(?:\\.\\d+)?)?)?) *([A-Za-z+-].*)?';

const unitNames = {
  s: 'second',
  m: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
  M: 'month',
  q: 'quarter',
  y: 'year',
};
const secondsOf = { s: 1, m: 60, h: 3600, second: 1, minute: 60, hour: 3600 };
const daysOf = { d: 1, w: 7 };
const monthsOf = { M: 1, q: 3, y: 12 };

const span = '[+-]?\\d+[smhdwMqy]';

/** The SQL that finds a value by its key; the empty string where there is none. */
function lookUp(table: Readonly<Record<string, string | number>>, key: string): string {
  const text = Object.entries(table).map(([name, value]) => `;${name}=${value}`);
  return `split_part(split_part('${text.join('')};', ';' || ${key} || '=', 2), ';', 1)`;
}

function numberOf(table: Readonly<Record<string, number>>, key: string): string {
  return `('0' || ${lookUp(table, key)})::BIGINT`;
}

const zoneSql = `
CREATE MACRO _td_region(zone) AS CASE upper(zone)
  ${Object.entries(regions)
    .map(([name, region]) => `WHEN '${name}' THEN '${region}'`)
    .join(' ')}
  ELSE regexp_replace(regexp_replace(regexp_replace(zone, '^(?i:UTC|GMT)([+-])', '\\1'),
    '^-0?(\\d{1,2})(?::?00)?$', 'Etc/GMT+\\1'), '^\\+0?(\\d{1,2})(?::?00)?$', 'Etc/GMT-\\1') END;
CREATE MACRO _td_local(t, region) AS timezone(region, to_timestamp(t::BIGINT));
CREATE MACRO _td_instant(local, region) AS epoch_us(timezone(region, local)) // 1000000;
`;

const timeSql = `
CREATE MACRO td_scheduled_time() AS epoch_us(now()) // 1000000;

CREATE MACRO _td_part(text, name) AS struct_extract(
  regexp_extract(text, '^${timePattern}$', ['local', 'zone']), name);
CREATE MACRO _td_parsed(text, zone) AS list_transform([text], lambda x: CASE
  WHEN _td_part(x, 'local') = '' THEN epoch_us((x || ' is no time')::TIMESTAMP)
  WHEN regexp_matches(_td_part(x, 'zone'), '^[+-]') THEN epoch_us((_td_part(x, 'local')
    || CASE WHEN contains(_td_part(x, 'local'), ':') THEN '' ELSE ' 00:00:00' END
    || _td_part(x, 'zone'))::TIMESTAMPTZ)
  ELSE epoch_us(timezone(_td_region(coalesce(nullif(_td_part(x, 'zone'), ''), zone)),
    _td_part(x, 'local')::TIMESTAMP)) END // 1000000)[1];
CREATE MACRO td_time_parse(t, zone := 'UTC') AS
  coalesce(TRY_CAST(to_json(t)::VARCHAR AS BIGINT), _td_parsed(t::VARCHAR, zone));
CREATE MACRO td_time_range(t, since, until := NULL, zone := 'UTC') AS
  (since IS NULL OR t >= td_time_parse(since, zone))
  AND (until IS NULL OR t < td_time_parse(until, zone));

CREATE MACRO _td_seconds(duration) AS CASE WHEN duration LIKE '-%' THEN -1 ELSE 1 END
  * list_sum(list_transform(regexp_extract_all(duration, '\\d+[wdhms]'), lambda part:
    left(part, -1)::BIGINT
      * ${numberOf({ w: 604800, d: 86400, h: 3600, m: 60, s: 1 }, 'right(part, 1)')}))::BIGINT;
CREATE MACRO td_time_add(t, duration, zone := 'UTC') AS CASE
  WHEN duration IS NULL THEN NULL
  WHEN regexp_full_match(duration, '[+-]?(?:\\d+(?:day|[wdhms]))+')
    THEN td_time_parse(t, zone) + _td_seconds(duration)
  ELSE error('TD_TIME_ADD: "' || duration || '" is no duration; expected is one such as 1d, -7d '
    || 'or 1d6h30m, of w, d, h, m and s')::BIGINT END;

CREATE MACRO _td_modulo(x, n) AS (x % n + n) % n;
CREATE MACRO _td_trunc(unit, t, region) AS CASE WHEN unit IN ('second', 'minute', 'hour')
  THEN t::BIGINT
    - _td_modulo(epoch_us(_td_local(t, region)) // 1000000, ${numberOf(secondsOf, 'unit')})
  ELSE _td_instant(date_trunc(unit, _td_local(t, region)), region) END;
CREATE MACRO _td_known(unit) AS
  lower(unit) IN ('minute', 'hour', 'day', 'week', 'month', 'quarter', 'year');
CREATE MACRO td_date_trunc(unit, t, zone := 'UTC') AS CASE
  WHEN unit IS NULL THEN NULL
  WHEN _td_known(unit) THEN _td_trunc(
    CASE WHEN _td_known(unit) THEN lower(unit) ELSE 'day' END, t, _td_region(zone))
  ELSE error('TD_DATE_TRUNC: "' || unit || '" is no unit; expected is minute, hour, day, week, '
    || 'month, quarter or year')::BIGINT END;
`;

/**
 * An interval is what lies between two times. The first is now, a date, or so many units from the
 * beginning of the one that now is in; the second is so many units from that of the first.
 */
const intervalSql = `
CREATE MACRO _td_unit(letter) AS coalesce(nullif(${lookUp(unitNames, 'letter')}, ''), 'day');
CREATE MACRO _td_moved(t, n, letter, region) AS CASE WHEN letter IN ('s', 'm', 'h')
  THEN t - _td_modulo(epoch_us(_td_local(t, region)) // 1000000, ${numberOf(secondsOf, 'letter')})
    + n * ${numberOf(secondsOf, 'letter')}
  ELSE _td_instant(date_trunc(_td_unit(letter), _td_local(t, region))
    + to_days((n * ${numberOf(daysOf, 'letter')})::INTEGER)
    + to_months((n * ${numberOf(monthsOf, 'letter')})::INTEGER), region) END;
CREATE MACRO _td_step(a, b, span) AS struct_pack(a := a, b := b, span := span);
CREATE MACRO _td_ends(span, reference, zone) AS list_transform([list_reduce([
    _td_step(0::BIGINT, CASE WHEN regexp_matches(reference, '^\\d{4}-')
      THEN _td_parsed(reference, zone) ELSE td_scheduled_time() END, ''),
    _td_step(0::BIGINT, 0::BIGINT, CASE WHEN reference = 'now' THEN '0s'
      WHEN regexp_full_match(reference, '${span}') THEN reference ELSE '0' || right(span, 1) END),
    _td_step(0::BIGINT, 0::BIGINT, span)],
  lambda last, step: _td_step(last.b, _td_moved(last.b, left(step.span, -1)::BIGINT,
    right(step.span, 1), _td_region(zone)), step.span))],
  lambda last: list_sort([last.a, last.b]))[1];
CREATE MACRO td_interval_range(i, zone := 'UTC') AS CASE
  WHEN i IS NULL THEN NULL
  WHEN regexp_full_match(i, '${span}(?:/(?:now|${span}|\\d{4}-.*))?')
    THEN _td_ends(split_part(i, '/', 1), regexp_replace(i, '^[^/]*/?', ''), zone)
  ELSE error('TD_INTERVAL: "' || i || '" is no interval; expected is one such as -1d, 1M, '
    || '-1h/now, -7d/-1d or -1d/2026-01-31, of s, m, h, d, w, M, q and y')::BIGINT[] END;
CREATE MACRO td_interval(t, i, zone := 'UTC') AS
  t >= td_interval_range(i, zone)[1] AND t < td_interval_range(i, zone)[2];
`;

/** What a run of letters in a pattern of Java's SimpleDateFormat is to `strftime`. */
const javaPieces = {
  yyyy: '%Y',
  yy: '%y',
  y: '%Y',
  MMMM: '%B',
  MMM: '%b',
  MM: '%m',
  M: '%-m',
  dd: '%d',
  d: '%-d',
  DDD: '%j',
  D: '%-j',
  EEEE: '%A',
  EEE: '%a',
  E: '%a',
  u: '%u',
  a: '%p',
  HH: '%H',
  H: '%-H',
  hh: '%I',
  h: '%-I',
  mm: '%M',
  m: '%-M',
  ss: '%S',
  s: '%-S',
  SSS: '000',
  SS: '00',
  S: '0',
  G: 'AD',
  // These two depend on the row and are put in afterwards.
  Z: '\u0001',
  z: '\u0002',
};

const runs = [...new Set(Object.keys(javaPieces).map((piece) => `${piece.charAt(0)}+`))];
const javaTokens = `''''|''(?:[^'']|'''')+''|${runs.join('|')}|[^A-Za-z'']+|.`;

/** The engine refuses a format that is empty, and looks at it before anything else. */
const textSql = `
CREATE MACRO _td_java_piece(token) AS CASE
  WHEN token = '''''' THEN ''''
  WHEN token LIKE '''%'''
    THEN replace(replace(substr(token, 2, length(token) - 2), '''''', ''''), '%', '%%')
  WHEN regexp_matches(token, '^[^A-Za-z'']') THEN replace(token, '%', '%%')
  ELSE ${lookUp(javaPieces, 'token')} END;
CREATE MACRO _td_filled(format) AS regexp_replace(format, '^$', ' ');
CREATE MACRO _td_java(pattern) AS _td_filled(array_to_string(list_transform(
  regexp_extract_all(pattern, '${javaTokens}'), lambda token: _td_java_piece(token)), ''));
CREATE MACRO _td_java_unknown(pattern) AS array_to_string(list_sort(list_distinct(list_filter(
  regexp_extract_all(pattern, '${javaTokens}'), lambda token: _td_java_piece(token) = ''))), ', ');
CREATE MACRO _td_shown(east, format) AS CASE WHEN east < 0 THEN '-' ELSE '+' END
  || strftime(make_timestamp(abs(east) * 1000000), format);
CREATE MACRO _td_zone_name(zone, east) AS CASE
  WHEN upper(zone) = 'PST' AND east = -25200 THEN 'PDT'
  WHEN upper(zone) = 'CST' AND east = -18000 THEN 'CDT'
  WHEN upper(zone) = 'Z' THEN 'UTC'
  WHEN regexp_full_match(zone, '[A-Za-z]{3}') THEN upper(zone)
  ELSE 'GMT' || _td_shown(east, '%H:%M') END;
CREATE MACRO _td_east(t, region) AS epoch_us(_td_local(t, region)) // 1000000 - t::BIGINT;
CREATE MACRO td_time_format(t, pattern, zone := 'UTC') AS CASE
  WHEN _td_java_unknown(pattern) <> '' THEN error('TD_TIME_FORMAT: "'
    || _td_java_unknown(pattern) || '" in "' || pattern || '" is not understood; expected are, '
    || 'besides text in quotes, ${Object.keys(javaPieces).join(' ')}')::VARCHAR
  WHEN NOT regexp_matches(pattern, '[Zz]')
    THEN strftime(_td_local(t, _td_region(zone)), _td_java(pattern))
  ELSE replace(replace(strftime(_td_local(t, _td_region(zone)), _td_java(pattern)),
    '\u0001', _td_shown(_td_east(t, _td_region(zone)), '%H%M')),
    '\u0002', _td_zone_name(zone, _td_east(t, _td_region(zone)))) END;

CREATE MACRO _td_text(local) AS strftime(local, '%Y-%m-%d %H:%M:%S');
CREATE MACRO td_time_string(t, code, zone := 'UTC') AS CASE
  WHEN code IS NULL THEN NULL
  WHEN regexp_full_match(code, '[yqMwdhms]!') THEN left(
    _td_text(date_trunc(_td_unit(left(code, 1)), _td_local(t, _td_region(zone)))),
    ${numberOf({ y: 4, q: 7, M: 7, w: 10, d: 10, h: 13, m: 16, s: 19 }, 'left(code, 1)')})
  WHEN regexp_full_match(code, '[yqMwdhms]') THEN list_transform(
    [_td_trunc(_td_unit(left(code, 1)), t, _td_region(zone))],
    lambda x: _td_text(_td_local(x, _td_region(zone)))
      || _td_shown(_td_east(x, _td_region(zone)), '%H%M'))[1]
  ELSE error('TD_TIME_STRING: "' || code || '" is no format; expected is y, q, M, w, d, h, m or '
    || 's, or one of them with !; for patterns there is TD_TIME_FORMAT')::VARCHAR END;
`;

/** What the letters of MySQL's patterns are to `strftime`. */
const mysqlPieces = {
  '%Y': '%Y',
  '%y': '%y',
  '%m': '%m',
  '%c': '%-m',
  '%M': '%B',
  '%b': '%b',
  '%d': '%d',
  '%e': '%-d',
  '%j': '%j',
  '%W': '%A',
  '%a': '%a',
  '%x': '%G',
  '%v': '%V',
  '%H': '%H',
  '%k': '%-H',
  '%h': '%I',
  '%I': '%I',
  '%l': '%-I',
  '%p': '%p',
  '%i': '%M',
  '%s': '%S',
  '%S': '%S',
  '%f': '%f',
  '%T': '%H:%M:%S',
  '%r': '%I:%M:%S %p',
  '%%': '%%',
};

const prestoSql = `
CREATE MACRO _td_mysql_piece(token) AS CASE WHEN left(token, 1) <> '%' THEN token
  ELSE ${lookUp(mysqlPieces, 'token')} END;
CREATE MACRO _td_mysql(pattern) AS _td_filled(array_to_string(list_transform(
  regexp_extract_all(pattern, '%.|[^%]+|%'), lambda token: _td_mysql_piece(token)), ''));
CREATE MACRO _td_mysql_unknown(pattern) AS array_to_string(list_filter(
  regexp_extract_all(pattern, '%.|[^%]+|%'), lambda token: _td_mysql_piece(token) = ''), ', ');
CREATE MACRO date_format(t, pattern) AS CASE WHEN _td_mysql_unknown(pattern) <> ''
  THEN error('date_format: "' || _td_mysql_unknown(pattern) || '" in "' || pattern
    || '" is not understood; expected are ${Object.keys(mysqlPieces).join(' ')}')::VARCHAR
  ELSE strftime(t, _td_mysql(pattern)) END;
CREATE MACRO date_parse(text, pattern) AS CASE WHEN _td_mysql_unknown(pattern) <> ''
  THEN error('date_parse: "' || _td_mysql_unknown(pattern) || '" in "' || pattern
    || '" is not understood; expected are ${Object.keys(mysqlPieces).join(' ')}')::TIMESTAMP
  ELSE strptime(text, _td_mysql(pattern)) END;
CREATE MACRO from_unixtime(t) AS to_timestamp(t);
CREATE MACRO to_unixtime(t) AS epoch(t);
CREATE MACRO day_of_week(t) AS isodow(t);
CREATE MACRO dow(t) AS isodow(t);
CREATE MACRO day_of_month(t) AS day(t);
CREATE MACRO day_of_year(t) AS dayofyear(t);
CREATE MACRO json_extract_scalar(json, path) AS CASE
  WHEN NOT json_valid(json) OR json_type(json, path) IN ('OBJECT', 'ARRAY') THEN NULL
  ELSE json_extract_string(json, path) END;
CREATE MACRO get_json_object(json, path) AS
  CASE WHEN json_valid(json) THEN json_extract_string(json, path) END;
CREATE MACRO json_parse(text) AS text::JSON;
CREATE MACRO approx_distinct(x) AS approx_count_distinct(x);
CREATE MACRO approx_percentile(x, share) AS approx_quantile(x, share);
CREATE MACRO element_at(container, key) AS container[key];
CREATE MACRO regexp_like(text, pattern) AS regexp_matches(text, pattern);
CREATE MACRO array_join(list, separator) AS array_to_string(list, separator);
CREATE MACRO nvl(a, b) AS coalesce(a, b);
CREATE MACRO td_md5(text) AS md5(text);
`;

/** Makes them, in the database in memory that is called `ml`. */
export const macrosSql = `CREATE SCHEMA ml.td;
${[zoneSql, timeSql, intervalSql, textSql, prestoSql]
  .join('')
  .replace(/(?<!CREATE MACRO )\b_?td_\w+\(/g, 'ml.td.$&')
  .replaceAll('CREATE MACRO ', 'CREATE MACRO ml.td.')}`;
