-- What one handler run commits at the least: the business row and the dispatch row, in one transaction.
\set account random(0, 9999)
\set row random(1, 20000)
BEGIN;
UPDATE public.account SET paid = paid + 1 WHERE id = :account;
UPDATE public.pgbench_dispatch SET state = 'succeeded', attempts = attempts + 1 WHERE id = :row;
COMMIT;
