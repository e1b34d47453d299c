using trade from '../db/schema';

/* Functions and actions, of the service and of its records: tasks.js. */
@path: '/odata/v4/tasks'
service TaskService {
  entity Partners as projection on trade.BusinessPartners actions {
    action   raiseLimit(percent : Decimal(5, 2) not null, reason : String(40)) returns Decimal(15, 2);
    function better(than : Integer) returns Boolean;
  };
  function greet(name : String, times : Integer) returns String;
  function between(first : Date, last : Date) returns { days : Integer; later : Boolean };
  function several(n : Integer) returns many String;
  action   settle(partners : many String, day : Date, dry : Boolean) returns { settled : Integer; day : Date };
  action   tidy();
  action   refuse(status : Integer, text : String);
}
