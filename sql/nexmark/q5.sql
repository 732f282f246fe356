-- Hot items: the auctions with the most bids of the last ten seconds, every two seconds.
WITH counts AS (
  SELECT auction, count(*) AS bids, window.start AS starts, window.end AS ends
  FROM bid GROUP BY auction, window(date_time, '10 seconds', '2 seconds')
)
SELECT c.auction, c.bids, c.starts, c.ends
FROM counts c JOIN (SELECT starts AS at, max(bids) AS most FROM counts GROUP BY starts) m ON c.starts = m.at AND c.bids = m.most
