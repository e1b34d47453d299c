"""Storefronts, shipping, service desks.

Documents:
shopify      GraphQL Admin API reference: productSet, productDelete, productByIdentifier; "Response status and error
             codes" (errors with extensions.code and userErrors within a 200); X-Shopify-Access-Token.
bigcommerce  REST Management API V3, Catalog (data, meta; 409 on a duplicate name or SKU) and Customers (lists of at
             most 10, id:in and email:in take values with commas);
             X-Auth-Token; X-Rate-Limit-Requests-Left and -Time-Reset-Ms.
magento      Adobe Commerce Web API: PUT /V1/products/:sku with {"product": ...}; {"message", "parameters"} on errors.
shipstation  ShipStation API V1: POST /orders/createorder (orderKey), DELETE /orders/:orderId; X-Rate-Limit-*.
servicenow   Table API: POST, GET, PATCH, DELETE /api/now/table/:table[/:sys_id]; {"result"} and {"error", "status"};
             "Encoded query strings" (^ and, ^OR, ^NQ a new query; texts are compared without regard to case).
"""
import re

from common import Answer, Dialect, Refuse


class Shopify(Dialect):
    name = "shopify"
    known = {"title", "handle", "status", "vendor", "metafields"}

    def answer(self, request):
        if request.header("x-shopify-access-token") != "shpat_token":
            raise Answer(401, {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"})
        if request.path != "/admin/api/2026-01/graphql.json" or request.method != "POST":
            raise Refuse(404, {"errors": "Not Found"})
        body = request.json()
        query, variables = body.get("query", ""), body.get("variables", {})
        if query.count("{") != query.count("}") or set(body) != {"query", "variables"}:
            raise Refuse(400, {"errors": {"query": "Required parameter missing or invalid"}})
        declared = dict(re.findall(r"\$(\w+): (\w+!?)", query.split(")")[0]))
        if set(declared) != set(variables):
            raise Refuse(200, {"errors": [{"message": "Variables %s" % declared, "extensions": {"code": "INVALID_VARIABLE"}}]})
        products = self.collection("product")
        if "productSet(" in query:
            return self.product_set(declared, variables, products)
        if "productDelete(" in query:
            known = products.pop(variables["input"].get("id"), None)
            errors = [] if known else [{"field": ["id"], "message": "Product does not exist"}]
            return Answer(200, {"data": {"delete": {"userErrors": errors}}})
        if "productByIdentifier(" in query:
            if declared != {"identifier": "ProductIdentifierInput!"}:
                raise Refuse(200, {"errors": [{"message": "Variable types %s" % declared}]})
            found = self.find(products, variables["identifier"])
            return Answer(200, {"data": {"record": {"id": found} if found else None}})
        raise Refuse(200, {"errors": [{"message": "Field doesn't exist on type 'Mutation'"}]})

    def find(self, products, identifier):
        (name, value), = identifier.items()
        return next((i for i, p in products.items() if p.get(name) == value), None)

    def product_set(self, declared, variables, products):
        if declared != {"input": "ProductSetInput!", "identifier": "ProductSetIdentifiers"}:
            raise Refuse(200, {"errors": [{"message": "Variable types %s" % declared}]})
        wrong = set(variables["input"]) - self.known
        if wrong:
            raise Refuse(200, {"errors": [{"message": "Field is not defined on ProductSetInput: %s" % sorted(wrong)}]})
        if not variables["input"].get("title"):
            return Answer(200, {"data": {"set": {"record": None, "userErrors": [
                {"field": ["input", "title"], "message": "Title can't be blank", "code": "BLANK"}]}}})
        known = self.find(products, variables["identifier"])
        if known is None:
            known = "gid://shopify/Product/%d" % self.number("product")
            products[known] = {}
        products[known].update(variables["input"])
        return Answer(200, {"data": {"set": {"record": {"id": known}, "userErrors": []}},
                            "extensions": {"cost": {"throttleStatus": {"currentlyAvailable": 1990}}}})


class BigCommerce(Dialect):
    name = "bigcommerce"
    limit = {"X-Rate-Limit-Requests-Left": "149", "X-Rate-Limit-Time-Reset-Ms": "15000"}

    def refuse(self, status, title):
        return Refuse(status, {"status": status, "title": title, "type": "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"}, self.limit)

    def answer(self, request):
        if request.header("x-auth-token") != "bc_token":
            raise Answer(401, {"status": 401, "title": "Unauthorized"})
        parts = request.segments
        if parts[:3] != ["stores", "abc", "v3"]:
            raise self.refuse(404, "Not found")
        if parts[3:5] == ["catalog", "products"]:
            return self.product(request, parts[5:])
        if parts[3:] == ["customers"]:
            return self.customers(request)
        raise self.refuse(404, "Not found")

    def product(self, request, rest):
        products = self.collection("products")
        if request.method == "POST" and not rest:
            body = request.json()
            if any(p["name"] == body.get("name") for p in products.values()):
                raise Answer(409, {"status": 409, "title": "The product name is a duplicate"}, self.limit)
            if not isinstance(body.get("price"), (int, float)) or not body.get("name"):
                raise self.refuse(422, "JSON data is missing or invalid")
            new = self.number("products")
            products[str(new)] = body
            return Answer(200, {"data": dict(body, id=new), "meta": {}}, self.limit)
        if not rest and request.method == "GET" and "sku" in request.query:
            return Answer(200, {"data": [dict(p, id=int(i)) for i, p in products.items() if p.get("sku") == request.query["sku"]], "meta": {}}, self.limit)
        if len(rest) != 1 or not rest[0].isdigit():
            raise self.refuse(404, "Not found")
        if request.method == "DELETE":
            products.pop(rest[0], None)
            return Answer(204, None, self.limit)
        if rest[0] not in products:
            raise Answer(404, {"status": 404, "title": "The product was not found"}, self.limit)
        if request.method == "PUT":
            products[rest[0]].update(request.json())
        return Answer(200, {"data": dict(products[rest[0]], id=int(rest[0])), "meta": {}}, self.limit)

    def customers(self, request):
        customers = self.collection("customers")
        if request.method == "GET":
            wanted = request.query.get("email:in", "").split(",")
            found = [c for c in customers.values() if c.get("email") in wanted]
            return Answer(200, {"data": found, "meta": {}}, self.limit)
        if request.method == "DELETE":
            for i in request.query.get("id:in", "").split(","):
                customers.pop(i, None)
            return Answer(204, None, self.limit)
        body = request.json()
        if not isinstance(body, list) or len(body) > 10:
            raise self.refuse(422, "a list of at most 10")
        self.batch(body, 10)
        if any(self.fate(item) == "refuse" for item in body):
            raise Answer(422, {"status": 422, "title": "refused", "errors": {}}, self.limit)
        done = []
        for item in body:
            if request.method == "POST":
                item = dict(item, id=self.number("customers"))
                customers[str(item["id"])] = {}
            elif str(item.get("id")) not in customers or not isinstance(item["id"], int):
                raise self.refuse(422, "id")
            customers[str(item["id"])].update(item)
            done.append(customers[str(item["id"])])
        return Answer(200, {"data": done[::-1], "meta": {}}, self.limit)


class BigCommerceCustomers(BigCommerce):
    name = "bigcommerce_customers"


class Magento(Dialect):
    name = "magento"

    def answer(self, request):
        if not request.bearer("mg_token"):
            raise Answer(401, {"message": "The consumer isn't authorized to access %resources.", "parameters": {"resources": "Magento_Catalog::products"}})
        match = re.fullmatch(r"/rest/default/V1/products/([^/]+)", request.raw_path)
        if not match:
            raise Refuse(404, {"message": "Request does not match any route."})
        sku = request.segments[-1]
        products = self.collection("products")
        if request.method == "DELETE":
            if products.pop(sku, None) is None:
                raise Answer(404, {"message": "The product with SKU \"%1\" does not exist.", "parameters": [sku]})
            return Answer(200, True)
        if request.method == "GET":
            if sku not in products:
                raise Answer(404, {"message": "The product that was requested doesn't exist. Verify the product and try again."})
            return Answer(200, products[sku])
        body = request.json()
        if request.method != "PUT" or set(body) != {"product"} or str(body["product"].get("sku")) != sku:
            raise Refuse(400, {"message": "Invalid data: %s" % body})
        known = products.setdefault(sku, {"id": self.number("products")})
        known.update(body["product"])
        return Answer(200, known)


class ShipStation(Dialect):
    name = "shipstation"
    limit = {"X-Rate-Limit-Limit": "40", "X-Rate-Limit-Remaining": "39", "X-Rate-Limit-Reset": "20"}

    def answer(self, request):
        if request.header("authorization") != "Basic a2V5OnNlY3JldA==":
            raise Answer(401, "Unauthorized")
        orders = self.collection("orders")
        if request.segments == ["orders", "createorder"] and request.method == "POST":
            body = request.json()
            missing = [f for f in ("orderNumber", "orderKey", "orderStatus") if not body.get(f)]
            if missing:
                raise Refuse(400, {"Message": "The request is invalid.", "ModelState": {"apiOrder." + f: ["required"] for f in missing}}, self.limit)
            known = next((i for i, o in orders.items() if o["orderKey"] == body["orderKey"]), None) or str(self.number("orders"))
            orders[known] = body
            return Answer(200, dict(body, orderId=int(known)), self.limit)
        if len(request.segments) == 2 and request.method == "DELETE":
            if orders.pop(request.segments[1], None) is None:
                raise Answer(404, {"Message": "not found"}, self.limit)
            return Answer(200, {"success": True, "message": "The requested order has been deleted"}, self.limit)
        raise Refuse(404, {"Message": "No HTTP resource was found"})


class ServiceNow(Dialect):
    name = "servicenow"

    def holds(self, record, query):
        """Whether a record meets an encoded query of equalities."""
        met = True
        for number, term in enumerate(query.split("^")):
            either = term.startswith("OR") and number > 0
            field, _, value = term[2 if either else 0:].partition("=")
            one = str(record.get(field, "")).lower() == value.lower()
            met = met or one if either else met and one
        return met

    def error(self, status, message, detail, kind=Refuse):
        return kind(status, {"error": {"message": message, "detail": detail}, "status": "failure"})

    def answer(self, request):
        if request.header("authorization") != "Basic Y29uY29yZDpzZWNyZXQ=":
            raise self.error(401, "User Not Authenticated", "Required to provide Auth information", Answer)
        if request.segments[:3] != ["api", "now", "table"] or len(request.segments) not in (4, 5):
            raise self.error(400, "Requested URI does not represent any resource", request.path)
        table = self.collection(request.segments[3])
        if len(request.segments) == 4:
            if request.method == "GET":
                fields = request.query.get("sysparm_fields", "").split(",")
                found = {i: r for query in request.query.get("sysparm_query", "").split("^NQ") for i, r in table.items() if self.holds(r, query)}
                return Answer(200, {"result": [{f: i if f == "sys_id" else str(r.get(f, "")) for f in fields} for i, r in found.items()]})
            new = "%032x" % (0xabc0 + self.number(request.segments[3]))
            table[new] = request.json()
            return Answer(201, {"result": {"sys_id": new}}, {"Location": "/api/now/table/%s/%s" % (request.segments[3], new)})
        record = table.get(request.segments[4])
        if record is None:
            raise self.error(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval", Answer)
        if request.method == "DELETE":
            del table[request.segments[4]]
            return Answer(204)
        if request.method == "PATCH":
            record.update(request.json())
        whole = dict({f: str(v) for f, v in record.items()}, sys_id=request.segments[4])
        fields = request.query.get("sysparm_fields")
        return Answer(200, {"result": whole if fields is None else {f: whole.get(f, "") for f in fields.split(",")}})
