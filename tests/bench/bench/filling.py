"""Fills an instance by copying what one alert left behind, in SQL: the same columns, other ids.

What is copied is what later work meets: alerts, conditions and intake; incidents with their links and
history; clocks with their timers; deliveries. It knows columns by name only where they must differ, so
a new column needs nothing here.
"""
import time
from typing import Dict

from bench.place import BenchError
from bench.product import Product

TITLE = "the one that is copied"


# The ids' time, so far back that a million of them, one a millisecond, are all drawn in the past.
FIRST_MS = int(time.time() * 1000) - 2_000_000


def drawn(kind: str) -> str:
    """An id of the form of a UUIDv7, the same for the same kind and number."""
    digest = f"md5('{kind}' || n)"
    return (f"(lpad(to_hex({FIRST_MS}::bigint + n), 12, '0') || '7' || "
            f"substr({digest}, 1, 3) || '8' || substr({digest}, 4, 15))::uuid")


def copy(product: Product, table: str, source: str, count: int, changed: Dict[str, str]) -> None:
    """Copies the rows of `source` (of the alias t) so many times."""
    schema, name = table.split(".")
    columns = product.sql("select column_name from information_schema.columns "
                          f"where table_schema = '{schema}' and table_name = '{name}' and is_generated = 'NEVER' "
                          "order by ordinal_position")
    missing = set(changed) - set(columns)
    if not columns or missing:
        raise BenchError(f"{table} has no {', '.join(missing) or 'columns'}")
    values = ", ".join(changed.get(column, f"t.{column}") for column in columns)
    product.sql(f"begin; create temporary table numbers on commit drop as select generate_series(1, {count}) as n; "
                f"insert into {table} ({', '.join(columns)}) select {values} from {source} cross join numbers; commit")


def fill(product: Product, alerts: int, incidents: int) -> None:
    """`alerts` alerts, of which the first `incidents` are active and each have an open incident."""
    found = product.sql(f"select a.id, a.dedup_key, i.id, i.number from alert.alerts a join incident.incident_alerts l "
                        f"on l.alert_id = a.id join incident.incidents i on i.id = l.incident_id where a.title = '{TITLE}'")
    if len(found) != 1:
        raise BenchError(f"{len(found)} alerts to copy")
    alert, key, incident, _ = found[0].split("|")
    a, i, number = drawn("alert"), drawn("incident"), "'INC' || 50000000 + n"
    closed = f"n > {incidents}"
    copy(product, "alert.alerts", f"(select * from alert.alerts where id = '{alert}') t", alerts, {
        "id": a, "dedup_key": "'big-' || n", "state": f"case when {closed} then 'CLEARED' else t.state end",
        "cleared_at": f"case when {closed} then t.started_at end",
        "clear_reason": f"case when {closed} then 'SOURCE' end"})
    copy(product, "alert.conditions", f"(select * from alert.conditions where alert_id = '{alert}') t", alerts, {
        "dedup_key": "'big-' || n", "alert_id": a})
    # An earlier life of the stream, so that no sequence is taken that is still to come.
    copy(product, "alert.intake", "(select * from alert.intake order by received_at desc limit 1) t", alerts, {
        "incarnation": "t.incarnation - 1", "sequence": "n"})
    copy(product, "alert.journal", f"(select * from alert.journal where record_id = '{alert}') t", incidents, {
        "record_id": a, "event_id": drawn("raised")})
    copy(product, "incident.incidents", f"(select * from incident.incidents where id = '{incident}') t", incidents, {
        "id": i, "number": number, "alerts": f"replace(t.alerts::text, '{alert}', {a}::text)::jsonb"})
    copy(product, "incident.incident_alerts", f"(select * from incident.incident_alerts where incident_id = '{incident}') t",
         incidents, {"alert_id": a, "incident_id": i, "condition": f"replace(t.condition, '{key}', 'big-' || n)"})
    copy(product, "incident.journal", f"(select * from incident.journal where record_id = '{incident}') t", incidents, {
        "record_id": i, "event_id": drawn("opened")})
    for schema in ("sla", "notification"):
        copy(product, f"{schema}.incident_incidents", f"(select * from {schema}.incident_incidents where id = '{incident}') t",
             incidents, {"id": i, "number": number})
    _fill_clocks(product, incident, incidents, i, number)
    copy(product, "notification.deliveries", f"(select * from notification.deliveries where incident_id = '{incident}') t",
         incidents, {"id": drawn("delivery"), "event_id": drawn("opened"), "subject_record_id": i, "incident_id": i,
                     "subject_record_number": number})
    for schema in ("alert", "incident", "sla", "notification"):
        for table in product.sql(f"select tablename from pg_tables where schemaname = '{schema}'"):
            product.sql(f"vacuum analyze {schema}.{table}")
    product.sql("checkpoint")


def _fill_clocks(product: Product, incident: str, incidents: int, new_id: str, number: str) -> None:
    for metric in product.sql(f"select metric from sla.clocks where incident_id = '{incident}'"):
        clock = f"(select id from sla.clocks where incident_id = '{incident}' and metric = '{metric}')"
        copy(product, "sla.clocks", f"(select * from sla.clocks where id = {clock}) t", incidents, {
            "id": drawn(metric), "incident_id": new_id, "incident_number": number})
        copy(product, "sla.timer", f"(select * from sla.timer where record_id = {clock}) t", incidents, {
            "record_id": drawn(metric)})
        copy(product, "sla.journal", f"(select * from sla.journal where record_id = {clock}) t", incidents, {
            "record_id": drawn(metric), "event_id": drawn(f"started {metric}")})
