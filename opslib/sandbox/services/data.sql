-- Small, always the same, and counted from the psql variable `anchor` (the day it was prepared), so that the newest
-- booking is never old. Keys are hashes of what they stand for. Run as airlineops, after schema.sql.

INSERT INTO organizations (id, code, name, "legalName", "iataCode", "icaoCode", country, currency, timezone, "updatedAt")
SELECT md5('org ' || code), code, name, name || ', Inc.', code, icao, 'US', 'USD', zone, :'anchor'::timestamp
FROM (VALUES ('AA', 'American Airlines', 'AAL', 'America/Chicago'),
             ('DL', 'Delta Air Lines', 'DAL', 'America/New_York'),
             ('UA', 'United Airlines', 'UAL', 'America/Chicago')) AS airline (code, name, icao, zone);

INSERT INTO users (id, "organizationId", email, username, "passwordHash", "firstName", "lastName", "emailVerified",
                   "updatedAt")
SELECT md5('user ' || code || role), md5('org ' || code), lower(role) || '@' || domain, lower(role) || '.' || lower(code),
       '$2b$12$' || repeat('x', 53), role, code, true, :'anchor'::timestamp
FROM (VALUES ('AA', 'americanair.com'), ('DL', 'delta.com'), ('UA', 'united.com')) AS airline (code, domain),
     (VALUES ('Admin'), ('Agent'), ('Supervisor')) AS post (role);

-- Ten days of flights around the anchor, eight a day and airline.
CREATE TEMPORARY TABLE route AS
SELECT * FROM (VALUES (0, 'JFK', 'LAX'), (1, 'ATL', 'ORD'), (2, 'SFO', 'BOS'), (3, 'DFW', 'MIA'), (4, 'SEA', 'DEN'),
                      (5, 'LAX', 'JFK'), (6, 'ORD', 'ATL'), (7, 'BOS', 'SFO')) AS r (n, origin, destination);

INSERT INTO flights (id, "organizationId", "flightNumber", "operatingCarrier", "marketingCarrier", origin, destination,
                     "scheduledDeparture", "scheduledArrival", "actualDeparture", "actualArrival", "aircraftType",
                     "totalSeats", "economySeats", "businessSeats", status, gate, terminal, "updatedAt")
SELECT md5('flight ' || code || day || ' ' || n), md5('org ' || code), code || (n + 1) * 100, code, code, origin,
       destination, leaves, leaves + interval '5 hours',
       CASE WHEN leaves < :'anchor'::timestamp THEN leaves + interval '7 minutes' END,
       CASE WHEN leaves + interval '5 hours' < :'anchor'::timestamp THEN leaves + interval '5 hours' END,
       'A321', 180, 160, 20,
       (CASE WHEN leaves + interval '5 hours' < :'anchor'::timestamp THEN 'ARRIVED'
             WHEN leaves < :'anchor'::timestamp THEN 'IN_FLIGHT' ELSE 'SCHEDULED' END)::"FlightStatus",
       chr(65 + n % 4) || (day + 10), (n % 4 + 1)::text, :'anchor'::timestamp
FROM (VALUES ('AA'), ('DL'), ('UA')) AS airline (code), route, generate_series(-3, 6) AS day,
     LATERAL (SELECT :'anchor'::timestamp + day * interval '1 day' + n * interval '2 hours') AS at (leaves);

INSERT INTO flight_inventory (id, "flightId", "cabinClass", "bookingClass", "totalSeats", "availableSeats",
                              "bookedSeats", "blockedSeats", "baseFare", "updatedAt")
SELECT md5('inventory ' || f.id || class), f.id, cabin::"CabinClass", class, seats, seats - booked - 2, booked, 2, fare,
       :'anchor'::timestamp
FROM flights AS f,
     (VALUES ('ECONOMY', 'Y', 100, 61, 199.00), ('ECONOMY', 'M', 60, 33, 149.00), ('BUSINESS', 'J', 20, 9, 799.00))
         AS cabin (cabin, class, seats, booked, fare);

INSERT INTO seat_maps (id, "flightId", "seatNumber", "row", "column", "cabinClass", "isWindow", "isAisle", status,
                       "updatedAt")
SELECT md5('seat ' || f.id || r || c), f.id, r || c, r, c, (CASE WHEN r < 3 THEN 'BUSINESS' ELSE 'ECONOMY' END)::"CabinClass",
       c IN ('A', 'F'), c IN ('C', 'D'), (CASE WHEN (r * 7 + ascii(c)) % 3 = 0 THEN 'OCCUPIED' ELSE 'AVAILABLE' END)::"SeatStatus",
       :'anchor'::timestamp
FROM (SELECT id FROM flights ORDER BY "scheduledDeparture", id LIMIT 20) AS f, generate_series(1, 15) AS r,
     unnest(ARRAY['A', 'B', 'C', 'D', 'E', 'F']) AS c;

INSERT INTO fares (id, "organizationId", "fareCode", "fareName", "fareType", origin, destination, "cabinClass",
                   "bookingClass", "fareBasis", "baseFare", taxes, refundable, changeable, "validFrom", "validTo",
                   "updatedAt")
SELECT md5('fare ' || code || n || class), md5('org ' || code), code || origin || destination || class,
       origin || ' to ' || destination || ' ' || class, 'PUBLISHED', origin, destination, cabin::"CabinClass", class,
       class || 'OW' || code, fare, fare * 0.15, class <> 'M', true, :'anchor'::timestamp - interval '90 days',
       :'anchor'::timestamp + interval '275 days', :'anchor'::timestamp
FROM (VALUES ('AA'), ('DL'), ('UA')) AS airline (code), route,
     (VALUES ('ECONOMY', 'Y', 199.00), ('ECONOMY', 'M', 149.00), ('BUSINESS', 'J', 799.00)) AS cabin (cabin, class, fare);

-- 3,000 bookings in the thirty days before the anchor; one in six is cancelled, one in nine not yet paid.
CREATE TEMPORARY TABLE booking AS
SELECT n, md5('pnr ' || n) AS id, (ARRAY['AA', 'DL', 'UA'])[n % 3 + 1] AS code, n % 2 + 1 AS travellers,
       translate(upper(substr(md5('locator ' || n), 1, 6)), '01', 'XZ') AS locator,
       :'anchor'::timestamp - n * interval '864 seconds' AS booked,
       CASE WHEN n % 6 = 5 THEN 'CANCELLED' WHEN n % 9 = 8 THEN 'CONFIRMED' ELSE 'TICKETED' END AS status,
       199.00 * 1.15 AS fare
FROM generate_series(1, 3000) AS n;

INSERT INTO pnrs (id, "organizationId", locator, status, "bookingChannel", "contactEmail", "contactPhone", "contactName",
                  "totalAmount", "bookingDate", "ticketTimeLimit", "paymentStatus", "paidAmount", "createdAt", "updatedAt")
SELECT id, md5('org ' || code), locator, status::"PNRStatus", (ARRAY['WEB', 'MOBILE', 'AGENT', 'API', 'GDS', 'CALL_CENTER', 'KIOSK'])[n % 7 + 1]::"BookingChannel",
       'traveller' || n || '@example.com', '+1555' || lpad(n::text, 7, '0'), 'Traveller ' || n, travellers * fare, booked,
       CASE WHEN status = 'CONFIRMED' THEN booked + interval '3 days' END,
       (CASE status WHEN 'TICKETED' THEN 'PAID' WHEN 'CANCELLED' THEN 'REFUNDED' ELSE 'PENDING' END)::"PaymentStatus",
       CASE WHEN status = 'TICKETED' THEN travellers * fare ELSE 0 END, booked, booked
FROM booking;
-- The booking that the platform's own seed data has.
UPDATE pnrs SET locator = 'ABC123' WHERE id = md5('pnr 1');

INSERT INTO pnr_segments (id, "pnrId", "flightId", "segmentNumber", origin, destination, "departureDate", "arrivalDate",
                          "cabinClass", "bookingClass", "fareBasis", status, "createdAt", "updatedAt")
SELECT md5('segment ' || b.n), b.id, f.id, 1, f.origin, f.destination, f."scheduledDeparture", f."scheduledArrival",
       'ECONOMY', 'Y', 'YOW' || b.code,
       (CASE WHEN b.status = 'CANCELLED' THEN 'CANCELLED' WHEN f.status = 'ARRIVED' THEN 'FLOWN' ELSE 'CONFIRMED' END)::"SegmentStatus",
       b.booked, b.booked
FROM booking AS b
JOIN flights AS f ON f.id = md5('flight ' || b.code || (b.n / 3 % 10 - 3) || ' ' || b.n / 30 % 8);

INSERT INTO passengers (id, "organizationId", "pnrId", title, "firstName", "lastName", email, "dateOfBirth", nationality,
                        "createdAt", "updatedAt")
SELECT md5('passenger ' || n || ' ' || which), md5('org ' || code), id, CASE which WHEN 1 THEN 'MS' ELSE 'MR' END,
       (ARRAY['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald'])[(n + which) % 6 + 1],
       (ARRAY['Lovelace', 'Hopper', 'Turing', 'Dijkstra', 'Liskov', 'Knuth', 'Hamilton'])[n % 7 + 1],
       'traveller' || n || '@example.com', timestamp '1980-01-01' + n * interval '1 day', 'US', booked, booked
FROM booking, LATERAL generate_series(1, travellers) AS which;

INSERT INTO tickets (id, "pnrId", "passengerId", "ticketNumber", "eTicketNumber", status, "baseFare", taxes, total,
                     "issueDate", "createdAt", "updatedAt")
SELECT md5('ticket ' || p.id), b.id, p.id, '001' || lpad(row_number() OVER (ORDER BY b.n, p.id)::text, 10, '0'),
       'E' || substr(p.id, 1, 12), (CASE WHEN b.status = 'CANCELLED' THEN 'REFUNDED' ELSE 'OPEN' END)::"TicketStatus",
       199.00, 29.85, 228.85, b.booked, b.booked, b.booked
FROM booking AS b JOIN passengers AS p ON p."pnrId" = b.id
WHERE b.status <> 'CONFIRMED';

INSERT INTO payments (id, "organizationId", "pnrId", amount, "paymentMethod", status, "gatewayProvider",
                      "gatewayTransactionId", "cardLast4", "billingCountry", "settledAt", "createdAt", "updatedAt")
SELECT md5('payment ' || n), md5('org ' || code), id, travellers * fare, 'CREDIT_CARD',
       (CASE status WHEN 'TICKETED' THEN 'PAID' ELSE 'REFUNDED' END)::"PaymentStatus", 'stripe', 'pi_' || md5('pi ' || n),
       lpad((n % 10000)::text, 4, '0'), 'US', booked + interval '1 minute', booked, booked
FROM booking WHERE status <> 'CONFIRMED';

INSERT INTO audit_logs (id, "userId", "userEmail", "ipAddress", action, resource, "resourceId", "organizationId", "timestamp")
SELECT md5('audit ' || n), md5('user ' || code || 'Agent'), 'agent', '10.4.0.' || n % 250, 'CREATE', 'pnr', id,
       md5('org ' || code), booked
FROM booking WHERE n % 3 = 0;

INSERT INTO "CuteSession" (id, "stationCode", "workstationId", "agentId", "startedAt", "endedAt")
SELECT md5('cute ' || n), (ARRAY['JFK', 'LAX', 'ATL', 'ORD'])[n % 4 + 1], 'WS' || n, 'agent' || n % 9,
       :'anchor'::timestamp - n * interval '1 hour',
       CASE WHEN n > 4 THEN :'anchor'::timestamp - n * interval '1 hour' + interval '45 minutes' END
FROM generate_series(1, 60) AS n;
