-- Processing-time windows: how many bids of each bidder came in ten seconds. A source adds the time at which it read a bid.
SELECT bidder, count(*) AS bids, window.start AS starts, window.end AS ends
FROM arrival GROUP BY bidder, window(read_time, '10 seconds')
