-- Highest bid: of each ten seconds.
SELECT b.auction, b.bidder, b.price, b.date_time
FROM bid b JOIN (
  SELECT max(price) AS most, window.start AS starts, window.end AS ends FROM bid GROUP BY window(date_time, '10 seconds')
) m ON b.price = m.most AND b.date_time >= m.starts AND b.date_time < m.ends
