-- Bidding statistics: how many bids, bidders and auctions each day has, by ranges of the price.
SELECT cast(date_time AS DATE) AS day,
       count(*) AS total_bids,
       count_if(price < 10000) AS low_bids,
       count_if(price >= 10000 AND price < 1000000) AS middle_bids,
       count_if(price >= 1000000) AS high_bids,
       count(DISTINCT bidder) AS total_bidders,
       count(DISTINCT bidder) FILTER (WHERE price < 10000) AS low_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS high_bidders,
       count(DISTINCT auction) AS total_auctions,
       count(DISTINCT auction) FILTER (WHERE price < 10000) AS low_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS high_auctions
FROM bid GROUP BY cast(date_time AS DATE)
