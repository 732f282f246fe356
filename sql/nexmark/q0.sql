-- Pass through: what reading and writing cost.
SELECT auction, bidder, price, date_time, extra FROM bid
