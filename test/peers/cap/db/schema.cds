namespace trade;

/* What the ERP holds: partners, and orders with their items. */

entity BusinessPartners {
  key ID          : String(40);
      Name        : String(200);
      City        : String(100);
      CreditLimit : Decimal(15, 2);
      Rating      : Integer;
      Turnover    : Int64;
      Score       : Double;
      Blocked     : Boolean;
      Since       : Date;
      ChangedAt   : Timestamp;
      Version     : Integer64;
}

entity SalesOrders {
  key ID          : UUID;
      Partner     : String(40);
      Total       : Decimal(15, 2);
      OrderedAt   : Timestamp;
      ChangedAt   : DateTime;
      Note        : String(2000);
      Items       : Composition of many SalesOrderItems on Items.Order = $self;
}

entity SalesOrderItems {
  key Order       : Association to SalesOrders;
  key Pos         : Integer;
      Product     : String(40);
      Quantity    : Decimal(15, 3);
      Price       : Decimal(15, 2);
}

/* The same partner with an ETag: If-Match is demanded here. */
entity GuardedPartners {
  key ID          : String(40);
      Name        : String(200);
      CreditLimit : Decimal(15, 2);
      ChangedAt   : Timestamp @cds.on.insert: $now @cds.on.update: $now @odata.etag;
}

/* A compound key. */
entity Prices {
  key Product     : String(40);
  key Currency    : String(3);
      Price       : Decimal(15, 2);
}

/* The ERP gives the key. */
entity Tickets {
  key ID          : UUID;
      Title       : String(200);
}

/* A value of every type, described: what an import makes of it. */
type Place {
  Street  : String(60) @title: 'Street';
  Country : String(2)  @title: 'Country';
}

@title: 'Sample'
@description: 'A value of every type'
entity Samples {
  key ID        : UUID @title: 'Sample ID';
      Text      : String(20) @title: 'Text' @description: 'At most twenty characters';
      Long      : LargeString;
      Small     : UInt8;
      Short     : Int16;
      Whole     : Integer;
      Large     : Int64;
      Exact     : Decimal(18, 6);
      Digits    : Decimal;
      Rough     : Double;
      Flag      : Boolean;
      Day       : Date;
      Clock     : Time;
      Second    : DateTime;
      Moment    : Timestamp;
      Bytes     : Binary(16);
      Picture   : LargeBinary @Core.MediaType: 'image/png';
      Color     : String(10) enum { red; green; };
      Home      : Place;
      Tags      : many String(10);
      Places    : many Place;
      Amount    : Decimal(15, 2) @Measures.ISOCurrency: Currency @title: 'Amount';
      Currency  : String(3) @title: 'Currency';
      Made      : Integer @readonly @title: 'Made by the system';
      Partner   : Association to BusinessPartners @title: 'Partner';
}
