using trade from '../db/schema';

@path: '/odata/v4/trade'
service TradeService {
  @cds.redirection.target
  entity BusinessPartners as projection on trade.BusinessPartners;
  entity SalesOrders      as projection on trade.SalesOrders;
  entity SalesOrderItems  as projection on trade.SalesOrderItems;
  entity GuardedPartners  as projection on trade.GuardedPartners;
  entity Prices           as projection on trade.Prices;
  entity Tickets          as projection on trade.Tickets;
  entity Samples          as projection on trade.Samples;
  @readonly entity Ratings as select from trade.BusinessPartners { ID, Rating };
}
