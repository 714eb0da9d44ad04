-- The core of the platform's database as its Prisma schema makes it (PLATFORM.md 2.1): table names in snake_case,
-- column names in camelCase (so they need double quotes), text keys without a default, timestamp(3), native enums,
-- indexes named TABLE_COLUMN_idx / _key / _fkey. Run as airlineops, the owner.

CREATE TYPE "PNRStatus" AS ENUM ('ACTIVE', 'CONFIRMED', 'TICKETED', 'CANCELLED', 'EXPIRED', 'NO_SHOW');
CREATE TYPE "PaymentStatus" AS ENUM ('PENDING', 'PARTIAL', 'PAID', 'REFUNDED', 'FAILED');
CREATE TYPE "BookingChannel" AS ENUM ('WEB', 'MOBILE', 'AGENT', 'API', 'GDS', 'CALL_CENTER', 'KIOSK');
CREATE TYPE "CabinClass" AS ENUM ('ECONOMY', 'PREMIUM_ECONOMY', 'BUSINESS', 'FIRST');
CREATE TYPE "FlightStatus" AS ENUM ('SCHEDULED', 'DELAYED', 'BOARDING', 'DEPARTED', 'IN_FLIGHT', 'LANDED', 'ARRIVED',
                                    'CANCELLED', 'DIVERTED');
CREATE TYPE "SegmentStatus" AS ENUM ('CONFIRMED', 'WAITLISTED', 'CANCELLED', 'FLOWN', 'NO_SHOW');
CREATE TYPE "SeatStatus" AS ENUM ('AVAILABLE', 'OCCUPIED', 'BLOCKED', 'RESERVED');
CREATE TYPE "PassengerType" AS ENUM ('ADULT', 'CHILD', 'INFANT');
CREATE TYPE "TicketStatus" AS ENUM ('OPEN', 'USED', 'VOID', 'REFUNDED', 'EXCHANGED');
CREATE TYPE "UserStatus" AS ENUM ('ACTIVE', 'INACTIVE', 'SUSPENDED');

CREATE TABLE organizations (
    id text NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    "legalName" text,
    "iataCode" text,
    "icaoCode" text,
    country text NOT NULL,
    currency text NOT NULL DEFAULT 'USD',
    timezone text NOT NULL DEFAULT 'UTC',
    settings jsonb,
    status text NOT NULL DEFAULT 'active',
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT organizations_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX organizations_code_key ON organizations (code);
CREATE UNIQUE INDEX "organizations_iataCode_key" ON organizations ("iataCode");
CREATE UNIQUE INDEX "organizations_icaoCode_key" ON organizations ("icaoCode");
-- A unique column that is indexed once more: the platform does that fifteen times.
CREATE INDEX organizations_code_idx ON organizations (code);
CREATE INDEX "organizations_iataCode_idx" ON organizations ("iataCode");
CREATE INDEX organizations_status_idx ON organizations (status);

CREATE TABLE users (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    email text NOT NULL,
    username text NOT NULL,
    "passwordHash" text NOT NULL,
    "firstName" text NOT NULL,
    "lastName" text NOT NULL,
    status "UserStatus" NOT NULL DEFAULT 'ACTIVE',
    "emailVerified" boolean NOT NULL DEFAULT false,
    "lastLoginAt" timestamp(3),
    "failedLoginAttempts" integer NOT NULL DEFAULT 0,
    "lockedUntil" timestamp(3),
    "mfaEnabled" boolean NOT NULL DEFAULT false,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE UNIQUE INDEX users_username_key ON users (username);
CREATE INDEX "users_organizationId_idx" ON users ("organizationId");
CREATE INDEX users_email_idx ON users (email);
CREATE INDEX users_username_idx ON users (username);
CREATE INDEX users_status_idx ON users (status);
CREATE INDEX "users_deletedAt_idx" ON users ("deletedAt");

CREATE TABLE flights (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    "flightNumber" text NOT NULL,
    "operatingCarrier" text NOT NULL,
    "marketingCarrier" text NOT NULL,
    origin text NOT NULL,
    destination text NOT NULL,
    "scheduledDeparture" timestamp(3) NOT NULL,
    "scheduledArrival" timestamp(3) NOT NULL,
    "actualDeparture" timestamp(3),
    "actualArrival" timestamp(3),
    "aircraftType" text NOT NULL,
    "aircraftRegistration" text,
    "tailNumber" text,
    "totalSeats" integer NOT NULL,
    "economySeats" integer NOT NULL DEFAULT 0,
    "premiumEconomySeats" integer NOT NULL DEFAULT 0,
    "businessSeats" integer NOT NULL DEFAULT 0,
    "firstSeats" integer NOT NULL DEFAULT 0,
    status "FlightStatus" NOT NULL DEFAULT 'SCHEDULED',
    gate text,
    terminal text,
    metadata jsonb,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT flights_pkey PRIMARY KEY (id)
);
CREATE INDEX "flights_organizationId_idx" ON flights ("organizationId");
CREATE INDEX "flights_flightNumber_scheduledDeparture_idx" ON flights ("flightNumber", "scheduledDeparture");
CREATE INDEX "flights_origin_destination_scheduledDeparture_idx" ON flights (origin, destination, "scheduledDeparture");
CREATE INDEX flights_status_idx ON flights (status);
CREATE INDEX "flights_scheduledDeparture_idx" ON flights ("scheduledDeparture");
CREATE INDEX "flights_deletedAt_idx" ON flights ("deletedAt");

CREATE TABLE flight_inventory (
    id text NOT NULL,
    "flightId" text NOT NULL,
    "cabinClass" "CabinClass" NOT NULL,
    "bookingClass" text NOT NULL,
    "totalSeats" integer NOT NULL,
    "availableSeats" integer NOT NULL,
    "bookedSeats" integer NOT NULL DEFAULT 0,
    "blockedSeats" integer NOT NULL DEFAULT 0,
    "baseFare" numeric(10, 2) NOT NULL,
    currency text NOT NULL DEFAULT 'USD',
    "isAvailable" boolean NOT NULL DEFAULT true,
    "oversellLimit" integer NOT NULL DEFAULT 0,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    CONSTRAINT flight_inventory_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "flight_inventory_flightId_cabinClass_bookingClass_key"
    ON flight_inventory ("flightId", "cabinClass", "bookingClass");
CREATE INDEX "flight_inventory_flightId_idx" ON flight_inventory ("flightId");
CREATE INDEX "flight_inventory_cabinClass_idx" ON flight_inventory ("cabinClass");

CREATE TABLE seat_maps (
    id text NOT NULL,
    "flightId" text NOT NULL, -- no foreign key, as on the platform
    "seatNumber" text NOT NULL,
    "row" integer NOT NULL,
    "column" text NOT NULL,
    "cabinClass" "CabinClass" NOT NULL,
    "seatType" text NOT NULL DEFAULT 'STANDARD',
    "isWindow" boolean NOT NULL DEFAULT false,
    "isAisle" boolean NOT NULL DEFAULT false,
    status "SeatStatus" NOT NULL DEFAULT 'AVAILABLE',
    "passengerId" text,
    "blockedBy" text,
    "blockedUntil" timestamp(3),
    "extraCharge" numeric(10, 2),
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    CONSTRAINT seat_maps_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "seat_maps_flightId_seatNumber_key" ON seat_maps ("flightId", "seatNumber");
CREATE INDEX "seat_maps_flightId_idx" ON seat_maps ("flightId");
CREATE INDEX seat_maps_status_idx ON seat_maps (status);

CREATE TABLE fares (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    "fareCode" text NOT NULL,
    "fareName" text NOT NULL,
    "fareType" text NOT NULL,
    origin text NOT NULL,
    destination text NOT NULL,
    "routeType" text NOT NULL DEFAULT 'ONE_WAY',
    "cabinClass" "CabinClass" NOT NULL,
    "bookingClass" text NOT NULL,
    "fareBasis" text NOT NULL,
    "baseFare" numeric(10, 2) NOT NULL,
    taxes numeric(10, 2) NOT NULL DEFAULT 0,
    currency text NOT NULL DEFAULT 'USD',
    refundable boolean NOT NULL DEFAULT false,
    changeable boolean NOT NULL DEFAULT false,
    "validFrom" timestamp(3) NOT NULL,
    "validTo" timestamp(3) NOT NULL,
    "isActive" boolean NOT NULL DEFAULT true,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT fares_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "fares_fareCode_key" ON fares ("fareCode");
CREATE INDEX "fares_organizationId_idx" ON fares ("organizationId");
CREATE INDEX "fares_fareCode_idx" ON fares ("fareCode");
CREATE INDEX fares_origin_destination_idx ON fares (origin, destination);
CREATE INDEX "fares_cabinClass_idx" ON fares ("cabinClass");
CREATE INDEX "fares_validFrom_validTo_idx" ON fares ("validFrom", "validTo");
CREATE INDEX "fares_isActive_idx" ON fares ("isActive");
CREATE INDEX "fares_deletedAt_idx" ON fares ("deletedAt");

CREATE TABLE pnrs (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    locator text NOT NULL,
    status "PNRStatus" NOT NULL DEFAULT 'ACTIVE',
    "bookingChannel" "BookingChannel" NOT NULL DEFAULT 'WEB',
    "bookingSource" text,
    "contactEmail" text NOT NULL,
    "contactPhone" text,
    "contactName" text,
    "totalAmount" numeric(10, 2) NOT NULL DEFAULT 0,
    currency text NOT NULL DEFAULT 'USD',
    "bookingDate" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ticketTimeLimit" timestamp(3),
    "paymentStatus" "PaymentStatus" NOT NULL DEFAULT 'PENDING',
    "paidAmount" numeric(10, 2) NOT NULL DEFAULT 0,
    metadata jsonb,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT pnrs_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX pnrs_locator_key ON pnrs (locator);
CREATE INDEX "pnrs_organizationId_idx" ON pnrs ("organizationId");
CREATE INDEX pnrs_locator_idx ON pnrs (locator);
CREATE INDEX "pnrs_contactEmail_idx" ON pnrs ("contactEmail");
CREATE INDEX pnrs_status_idx ON pnrs (status);
CREATE INDEX "pnrs_bookingDate_idx" ON pnrs ("bookingDate");
CREATE INDEX "pnrs_deletedAt_idx" ON pnrs ("deletedAt");

CREATE TABLE pnr_segments (
    id text NOT NULL,
    "pnrId" text NOT NULL,
    "flightId" text NOT NULL,
    "segmentNumber" integer NOT NULL,
    origin text NOT NULL,
    destination text NOT NULL,
    "departureDate" timestamp(3) NOT NULL,
    "arrivalDate" timestamp(3) NOT NULL,
    "cabinClass" "CabinClass" NOT NULL,
    "bookingClass" text NOT NULL,
    "fareBasis" text,
    status "SegmentStatus" NOT NULL DEFAULT 'CONFIRMED',
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    CONSTRAINT pnr_segments_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "pnr_segments_pnrId_segmentNumber_key" ON pnr_segments ("pnrId", "segmentNumber");
CREATE INDEX "pnr_segments_pnrId_idx" ON pnr_segments ("pnrId");
CREATE INDEX "pnr_segments_flightId_idx" ON pnr_segments ("flightId");
CREATE INDEX "pnr_segments_origin_destination_departureDate_idx" ON pnr_segments (origin, destination, "departureDate");

CREATE TABLE passengers (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    "pnrId" text NOT NULL,
    "passengerType" "PassengerType" NOT NULL DEFAULT 'ADULT',
    title text,
    "firstName" text NOT NULL,
    "middleName" text,
    "lastName" text NOT NULL,
    "dateOfBirth" timestamp(3),
    gender text,
    email text,
    phone text,
    "frequentFlyerNumber" text,
    "frequentFlyerTier" text,
    nationality text,
    "wheelchairRequired" boolean NOT NULL DEFAULT false,
    "mealPreference" text,
    "seatPreference" text,
    metadata jsonb,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    "deletedAt" timestamp(3),
    CONSTRAINT passengers_pkey PRIMARY KEY (id)
);
CREATE INDEX "passengers_organizationId_idx" ON passengers ("organizationId");
CREATE INDEX "passengers_pnrId_idx" ON passengers ("pnrId");
CREATE INDEX "passengers_lastName_firstName_idx" ON passengers ("lastName", "firstName");
CREATE INDEX "passengers_frequentFlyerNumber_idx" ON passengers ("frequentFlyerNumber");
CREATE INDEX passengers_email_idx ON passengers (email);
CREATE INDEX "passengers_deletedAt_idx" ON passengers ("deletedAt");

CREATE TABLE tickets (
    id text NOT NULL,
    "pnrId" text NOT NULL,
    "passengerId" text NOT NULL,
    "ticketNumber" text NOT NULL,
    "eTicketNumber" text,
    "ticketType" text NOT NULL DEFAULT 'ELECTRONIC',
    status "TicketStatus" NOT NULL DEFAULT 'OPEN',
    "baseFare" numeric(10, 2) NOT NULL,
    taxes numeric(10, 2) NOT NULL DEFAULT 0,
    total numeric(10, 2) NOT NULL,
    currency text NOT NULL DEFAULT 'USD',
    "issueDate" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    CONSTRAINT tickets_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "tickets_ticketNumber_key" ON tickets ("ticketNumber");
CREATE INDEX "tickets_pnrId_idx" ON tickets ("pnrId");
CREATE INDEX "tickets_passengerId_idx" ON tickets ("passengerId");
CREATE INDEX "tickets_ticketNumber_idx" ON tickets ("ticketNumber");
CREATE INDEX tickets_status_idx ON tickets (status);

CREATE TABLE payments (
    id text NOT NULL,
    "organizationId" text NOT NULL,
    "pnrId" text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    currency text NOT NULL DEFAULT 'USD',
    "paymentMethod" text NOT NULL,
    status "PaymentStatus" NOT NULL DEFAULT 'PENDING',
    "gatewayProvider" text,
    "gatewayTransactionId" text,
    "cardLast4" text,
    "billingCountry" text,
    "settledAt" timestamp(3),
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX "payments_gatewayTransactionId_key" ON payments ("gatewayTransactionId");
CREATE INDEX "payments_organizationId_idx" ON payments ("organizationId");
CREATE INDEX "payments_pnrId_idx" ON payments ("pnrId");
CREATE INDEX "payments_gatewayTransactionId_idx" ON payments ("gatewayTransactionId");
CREATE INDEX payments_status_idx ON payments (status);
CREATE INDEX "payments_createdAt_idx" ON payments ("createdAt");

CREATE TABLE audit_logs (
    id text NOT NULL,
    "userId" text,
    "userEmail" text,
    "ipAddress" text,
    action text NOT NULL,
    resource text NOT NULL,
    "resourceId" text,
    "oldValues" jsonb,
    "newValues" jsonb,
    "organizationId" text,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT audit_logs_pkey PRIMARY KEY (id)
);
CREATE INDEX "audit_logs_userId_idx" ON audit_logs ("userId");
CREATE INDEX audit_logs_action_idx ON audit_logs (action);
CREATE INDEX audit_logs_resource_idx ON audit_logs (resource);
CREATE INDEX "audit_logs_resourceId_idx" ON audit_logs ("resourceId");
CREATE INDEX "audit_logs_organizationId_idx" ON audit_logs ("organizationId");
CREATE INDEX audit_logs_timestamp_idx ON audit_logs ("timestamp");

-- One of the services whose models are not mapped: the table itself is mixed-case.
CREATE TABLE "CuteSession" (
    id text NOT NULL,
    "stationCode" text NOT NULL,
    "workstationId" text NOT NULL,
    "agentId" text NOT NULL,
    "startedAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "endedAt" timestamp(3),
    CONSTRAINT "CuteSession_pkey" PRIMARY KEY (id)
);
CREATE INDEX "CuteSession_stationCode_idx" ON "CuteSession" ("stationCode");

ALTER TABLE users ADD CONSTRAINT "users_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE flights ADD CONSTRAINT "flights_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE flight_inventory ADD CONSTRAINT "flight_inventory_flightId_fkey"
    FOREIGN KEY ("flightId") REFERENCES flights (id) ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE fares ADD CONSTRAINT "fares_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE pnrs ADD CONSTRAINT "pnrs_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE pnr_segments ADD CONSTRAINT "pnr_segments_pnrId_fkey"
    FOREIGN KEY ("pnrId") REFERENCES pnrs (id) ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE pnr_segments ADD CONSTRAINT "pnr_segments_flightId_fkey"
    FOREIGN KEY ("flightId") REFERENCES flights (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE passengers ADD CONSTRAINT "passengers_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE passengers ADD CONSTRAINT "passengers_pnrId_fkey"
    FOREIGN KEY ("pnrId") REFERENCES pnrs (id) ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE tickets ADD CONSTRAINT "tickets_pnrId_fkey"
    FOREIGN KEY ("pnrId") REFERENCES pnrs (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE tickets ADD CONSTRAINT "tickets_passengerId_fkey"
    FOREIGN KEY ("passengerId") REFERENCES passengers (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE payments ADD CONSTRAINT "payments_organizationId_fkey"
    FOREIGN KEY ("organizationId") REFERENCES organizations (id) ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE payments ADD CONSTRAINT "payments_pnrId_fkey"
    FOREIGN KEY ("pnrId") REFERENCES pnrs (id) ON DELETE RESTRICT ON UPDATE CASCADE;
