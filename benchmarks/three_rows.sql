-- What one callback leaves behind: key, event and one dispatch row, in one transaction; ids and keys as the receiver makes them.
WITH made AS (
    SELECT uuidv7() AS id, int4send(extract(epoch FROM now())::int / 3600) || uuid_send(gen_random_uuid()) AS key
), fresh AS (
    INSERT INTO receiver.dedup_key (key, event_id, fingerprint)
    SELECT key, id, uuid_send(gen_random_uuid()) FROM made
    ON CONFLICT (key) DO NOTHING RETURNING event_id
), stored AS (
    INSERT INTO receiver.event
        (id, key, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body)
    SELECT id, key, 'stripe', 'stripe', 'evt_00000000000000000000', 'payment_intent.succeeded',
           'pi_3PbenchmarkAAAAAAAAAAAAA', false, now(), :headers::jsonb, :body::bytea
    FROM made JOIN fresh ON fresh.event_id = made.id
), owed AS (
    INSERT INTO receiver.dispatch (event_id, handler) SELECT event_id, 'mark_paid' FROM fresh
)
SELECT event_id FROM fresh;
