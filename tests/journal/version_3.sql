BEGIN TRANSACTION;
CREATE TABLE decisions (
	seq INTEGER NOT NULL, 
	nonce BLOB NOT NULL, 
	time_ms BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	arm SMALLINT NOT NULL, 
	propensity FLOAT NOT NULL, 
	n_rows INTEGER NOT NULL, 
	latency_us BIGINT NOT NULL, 
	status SMALLINT NOT NULL, 
	protocol TEXT NOT NULL, 
	client_id TEXT, 
	unit BLOB, 
	features TEXT, 
	prediction FLOAT, 
	predictions TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (nonce)
);
INSERT INTO "decisions" VALUES(1,X'000000000000000000000001',1700000000001,1,1,0.75,1,100,200,'mlflow','order-1',X'756E697430303031','{"columns":["alcohol","colour","pH"],"data":[[7.4,"red",null]]}',1.0,NULL);
INSERT INTO "decisions" VALUES(2,X'000000000000000000000002',1700000000002,1,0,0.25,2,100,200,'mlflow','order-2',X'756E697430303032','{"columns":null,"data":[[1.5,2.0],[3.0,4.25]]}',NULL,'[2.0,3.0]');
INSERT INTO "decisions" VALUES(3,X'000000000000000000000003',1700000000003,1,1,0.75,2,100,200,'mlflow','order-3',NULL,'{"records":[{"alcohol":7.4,"colour":"white"},{"alcohol":1,"pH":3.1}]}',NULL,'[3.0,4.0]');
INSERT INTO "decisions" VALUES(4,X'000000000000000000000004',1700000000004,1,0,0.25,2,100,200,'open-inference','order-4',NULL,'{"values":{"alcohol":[[1.5],[2.5]],"colour":["red","white"]}}',NULL,'[4.0,5.0]');
INSERT INTO "decisions" VALUES(5,X'000000000000000000000005',1700000000005,1,1,0.75,1,100,200,'open-inference','order-5',NULL,'{"values":[[1.0,2.0,3.0]]}',5.0,NULL);
INSERT INTO "decisions" VALUES(6,X'000000000000000000000006',1700000000006,1,0,0.25,2,100,200,'open-inference','order-6',NULL,'{"values":[1.0,2.0]}',NULL,'[6.0,7.0]');
INSERT INTO "decisions" VALUES(7,X'000000000000000000000007',1700000000007,1,1,0.75,1,100,500,'mlflow',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "decisions" VALUES(8,X'000000000000000000000008',1700000000008,1,0,0.25,1,100,200,'mlflow',NULL,NULL,NULL,NULL,'["red"]');
CREATE TABLE journal_meta (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "journal_meta" VALUES(3);
CREATE TABLE losses (
	seq INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "losses" VALUES(1,1700000000000,'decision',3);
CREATE TABLE outcomes (
	seq INTEGER NOT NULL, 
	nonce BLOB NOT NULL, 
	"row" INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	arm SMALLINT NOT NULL, 
	propensity FLOAT NOT NULL, 
	reward FLOAT, 
	truth FLOAT, 
	truth_json TEXT, 
	ordinal INTEGER DEFAULT '0' NOT NULL, 
	outcome_id TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (nonce, "row", ordinal)
);
INSERT INTO "outcomes" VALUES(1,X'000000000000000000000001',0,1700000001000,1,1,0.75,NULL,1.0,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(2,X'000000000000000000000002',0,1700000001000,1,0,0.25,NULL,2.0,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(3,X'000000000000000000000003',0,1700000001000,1,1,0.75,NULL,3.0,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(4,X'000000000000000000000004',0,1700000001000,1,0,0.25,NULL,4.0,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(5,X'000000000000000000000005',0,1700000001000,1,1,0.75,NULL,5.0,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(6,X'000000000000000000000003',1,1700000001000,1,1,0.75,NULL,9.5,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(7,X'000000000000000000000063',-1,1700000001000,1,1,0.75,0.5,NULL,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(8,X'000000000000000000000007',0,1700000001000,1,1,0.75,1.0,NULL,NULL,0,NULL);
INSERT INTO "outcomes" VALUES(9,X'000000000000000000000008',0,1700000001000,1,0,0.25,NULL,NULL,'"white"',0,NULL);
CREATE TABLE revisions (
	seq INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	event TEXT NOT NULL, 
	spec TEXT, 
	PRIMARY KEY (seq)
);
INSERT INTO "revisions" VALUES(1,1,1700000000000,'started','{"schema_version":1,"name":"wine","arms":[{"name":"A","model":{"ref":"A","label":"wine/1","source":"/nowhere","name":"","version":0,"run_id":"","chosen_by":"","digest":"","remote":""},"weight":0.25},{"name":"B","model":{"ref":"B","label":"wine/2","source":"/nowhere","name":"","version":0,"run_id":"","chosen_by":"","digest":"","remote":""},"weight":0.75}],"policy":"weighted","sticky_by":"","reward":"squared-error","reward_range":null,"shadows":[],"redraw":false,"horizon":0,"paired":false,"attribution":{"window_s":0.0,"missing":null,"failed":null,"repeated":"first"},"costs":[]}');
CREATE TABLE shadow_decisions (
	seq INTEGER NOT NULL, 
	nonce BLOB NOT NULL, 
	revision INTEGER NOT NULL, 
	shadow SMALLINT NOT NULL, 
	time_ms BIGINT NOT NULL, 
	latency_us BIGINT NOT NULL, 
	status SMALLINT NOT NULL, 
	prediction FLOAT, 
	predictions TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (nonce, revision, shadow)
);
INSERT INTO "shadow_decisions" VALUES(1,X'000000000000000000000001',1,0,1700000000005,77,200,1.25,NULL);
CREATE TABLE voids (
	seq INTEGER NOT NULL, 
	outcome INTEGER NOT NULL, 
	time_ms BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	"by" TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (outcome)
);
INSERT INTO "voids" VALUES(1,8,1700000000009,'test traffic','ann');
CREATE INDEX decisions_client_id ON decisions (client_id) WHERE client_id IS NOT NULL;
COMMIT;
