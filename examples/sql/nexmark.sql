-- The average price for each category of an auction house, of its winning bids, from the events of
--     mkdir events && tidemill gen nexmark --count 100000 > events/house.json
--     tidemill sql examples/sql/nexmark.sql
-- The other queries of NEXMark are in sql/nexmark.
CREATE TABLE events (
    event_type INT,
    auction STRUCT<id: BIGINT, dateTime: TIMESTAMP, expires: TIMESTAMP, category: BIGINT>,
    bid STRUCT<auction: BIGINT, price: BIGINT, dateTime: TIMESTAMP>
) USING json OPTIONS (path 'events');

CREATE VIEW auctions AS
SELECT auction['id'] AS id, auction['category'] AS category, auction['dateTime'] AS opened, auction['expires'] AS expires
FROM events WHERE event_type = 1;

CREATE VIEW bids AS
SELECT bid['auction'] AS auction, bid['price'] AS price, bid['dateTime'] AS at
FROM events WHERE event_type = 2;

SELECT category, avg(final) AS average
FROM (
    SELECT a.id, a.category, max(b.price) AS final
    FROM auctions a JOIN bids b ON a.id = b.auction AND b.at BETWEEN a.opened AND a.expires
    GROUP BY a.id, a.category
) won
GROUP BY category
ORDER BY category;
