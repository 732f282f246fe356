-- Currency conversion: the price of each bid in euros.
SELECT auction, bidder, price * 0.908 AS price, date_time, extra FROM bid
